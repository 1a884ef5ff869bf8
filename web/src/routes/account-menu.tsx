import { useMutation, useQueryClient } from "@tanstack/react-query";
import { api } from "../lib/api/calls";
import { t } from "../lib/text/en";
import { IconButton } from "../lib/ui/button";

/** Who is signed in, help, and the way out. */
export function AccountMenu({ name, onHelp }: { name: string; onHelp: () => void }) {
  const client = useQueryClient();
  const logout = useMutation({
    mutationFn: api.logout,
    onSettled: () => {
      client.clear();
      location.assign("/login");
    },
  });
  return (
    <div className="account">
      <span className="account-name clip" title={t.nav.account}>
        {name}
      </span>
      <IconButton icon="help" label={t.nav.help} onClick={onHelp} />
      <IconButton icon="exit" label={t.nav.signOut} onClick={() => logout.mutate()} />
    </div>
  );
}
