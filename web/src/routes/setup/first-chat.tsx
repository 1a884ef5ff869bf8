import { useMutation, useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useState, type FormEvent } from "react";
import { api } from "../../lib/api/calls";
import { useOnceKeys } from "../../lib/api/once";
import { workspacesQuery } from "../../lib/api/queries";
import { t } from "../../lib/text/en";
import { Button } from "../../lib/ui/button";
import { ProblemNote } from "../../lib/ui/states";

export function ChatStep() {
  const navigate = useNavigate();
  const workspaces = useQuery(workspacesQuery);
  const [text, setText] = useState("");
  const keys = useOnceKeys();
  const workspace = workspaces.data?.items.find((item) => item.status === "connected");
  const create = useMutation({
    mutationFn: (question: string) =>
      api.createChat({ content: [{ type: "text", text: question }], workspace_id: workspace?.id }, keys.keyFor(question)),
    onSuccess: ({ chat }) => navigate({ to: "/chats/$chatId", params: { chatId: chat.id } }),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (text.trim()) create.mutate(text.trim());
  };
  return (
    <form className="form" onSubmit={submit}>
      <h1>{t.setup.chatTitle}</h1>
      <p className="ink-2">{t.setup.chatText}</p>
      <textarea
        className="input ask"
        aria-label={t.setup.chatTitle}
        rows={3}
        autoFocus
        value={text}
        onChange={(e) => setText(e.target.value)}
        onKeyDown={(e) => {
          if (e.key === "Enter" && !e.shiftKey && !e.nativeEvent.isComposing) submit(e);
        }}
      />
      <ul className="suggestions">
        {t.setup.suggestions.map((suggestion) => (
          <li key={suggestion}>
            <button type="button" className="suggestion" onClick={() => setText(suggestion)}>
              {suggestion}
            </button>
          </li>
        ))}
      </ul>
      {create.isError && <ProblemNote error={create.error} />}
      <div className="form-actions">
        <Button type="submit" look="primary" icon="send" busy={create.isPending} disabled={!text.trim()}>
          {t.chat.send}
        </Button>
        <Link to="/" className="button button-quiet">
          {t.setup.finish}
        </Link>
      </div>
    </form>
  );
}
