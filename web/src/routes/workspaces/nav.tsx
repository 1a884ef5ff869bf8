import { Link } from "@tanstack/react-router";
import { t } from "../../lib/text/en";
import { Icon } from "../../lib/ui/icon";

/** The sections of one workspace. */
export function WorkspaceNav({ id }: { id: string }) {
  return (
    <nav className="sections" aria-label={t.workspaces.sections}>
      <Link to="/workspaces/$workspaceId" params={{ workspaceId: id }} className="nav-item" activeOptions={{ exact: true }}>
        <Icon name="list" />
        {t.workspaces.overview}
      </Link>
      <Link to="/workspaces/$workspaceId/terminals" params={{ workspaceId: id }} search={{}} className="nav-item" activeOptions={{ includeSearch: false }}>
        <Icon name="terminal" />
        {t.workspaces.terminals}
      </Link>
    </nav>
  );
}
