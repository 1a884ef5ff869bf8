import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Navigate, useNavigate, useSearch } from "@tanstack/react-router";
import { useState, type FormEvent } from "react";
import { api } from "../lib/api/calls";
import { asProblem } from "../lib/api/problem";
import { bootstrapQuery, meQuery } from "../lib/api/queries";
import { t } from "../lib/text/en";
import { Button } from "../lib/ui/button";
import { Field } from "../lib/ui/field";
import { useTitle } from "../lib/ui/hooks";
import { Brand } from "../lib/ui/brand";
import { ProblemNote } from "../lib/ui/states";

export function LoginPage() {
  useTitle(t.login.title);
  const client = useQueryClient();
  const navigate = useNavigate();
  const { to } = useSearch({ from: "/login" });
  const bootstrap = useQuery(bootstrapQuery);
  const [username, setUsername] = useState("");
  const [password, setPassword] = useState("");
  const login = useMutation({
    mutationFn: () => api.login({ username, password }),
    onSuccess: async () => {
      client.removeQueries({ queryKey: meQuery.queryKey });
      await navigate({ href: isLocal(to) ? to : "/", replace: true });
    },
  });
  if (bootstrap.data?.setup_required) return <Navigate to="/setup" search={{}} replace />;

  const problem = login.error ? asProblem(login.error) : null;
  const wrong = problem?.status === 401;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    login.mutate();
  };
  return (
    <main className="gate" id="content">
      <Brand />
      <form className="gate-form" onSubmit={submit}>
        <h1>{t.login.title}</h1>
        <Field
          label={t.login.username}
          name="username"
          autoComplete="username"
          autoCapitalize="none"
          spellCheck={false}
          autoFocus
          required
          value={username}
          onChange={(e) => setUsername(e.target.value)}
        />
        <Field
          label={t.login.password}
          name="password"
          type="password"
          autoComplete="current-password"
          required
          value={password}
          onChange={(e) => setPassword(e.target.value)}
          error={wrong ? t.login.wrong : null}
        />
        {problem && !wrong && <ProblemNote error={problem} />}
        <Button type="submit" look="primary" busy={login.isPending}>
          {t.login.submit}
        </Button>
        <p className="field-hint">
          {t.login.forgot} <code>controlplane admin user</code>
        </p>
      </form>
      {bootstrap.data && <p className="gate-foot mono">{bootstrap.data.version}</p>}
    </main>
  );
}

/** Only a place on this server: never another host. */
function isLocal(to: string | undefined): to is string {
  return to !== undefined && /^\/(?![/\\])/.test(to);
}
