import { useMutation } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { api } from "../../lib/api/calls";
import { asProblem } from "../../lib/api/problem";
import { t } from "../../lib/text/en";
import { Button, CopyButton } from "../../lib/ui/button";
import { Field } from "../../lib/ui/field";
import { ProblemNote } from "../../lib/ui/states";

interface AdminStepProps {
  token: string | undefined;
  onDone: () => Promise<void>;
}

export function AdminStep({ token, onDone }: AdminStepProps) {
  const [code, setCode] = useState(token ?? "");
  const [username, setUsername] = useState("");
  const [password, setPassword] = useState("");
  const setup = useMutation({
    mutationFn: async () => {
      await api.setup({ setup_token: code.trim(), username: username.trim(), password });
      // A server may leave the sign-in to us.
      await api.me().catch(() => api.login({ username: username.trim(), password }));
    },
    onSuccess: onDone,
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setup.mutate();
  };
  const problem = setup.error ? asProblem(setup.error) : null;
  return (
    <form className="form" onSubmit={submit}>
      <h1>{t.setup.adminTitle}</h1>
      <p className="ink-2">{token ? t.setup.adminText : t.setup.noToken}</p>
      {!token && (
        <>
          <div className="command">
            <pre>
              <code>controlplane setup-link</code>
            </pre>
            <CopyButton text="controlplane setup-link" />
          </div>
          <Field label={t.setup.token} mono required value={code} onChange={(e) => setCode(e.target.value)} />
        </>
      )}
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
        error={problem?.field("username")}
      />
      <Field
        label={t.login.password}
        name="password"
        type="password"
        autoComplete="new-password"
        required
        hint={t.setup.passwordHint}
        value={password}
        onChange={(e) => setPassword(e.target.value)}
        error={problem?.field("password")}
      />
      {problem && <ProblemNote error={problem} />}
      <div className="form-actions">
        <Button type="submit" look="primary" busy={setup.isPending}>
          {t.setup.create}
        </Button>
      </div>
    </form>
  );
}
