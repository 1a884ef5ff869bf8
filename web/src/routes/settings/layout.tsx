import { Link, Outlet } from "@tanstack/react-router";
import { t } from "../../lib/text/en";

const SECTIONS = [
  { to: "/settings/providers", label: t.providers.title },
  { to: "/settings/models", label: t.models.title },
  { to: "/settings/api-keys", label: t.apiKeys.title },
  { to: "/settings/usage", label: t.usage.title },
  { to: "/settings/appearance", label: t.appearance.title },
] as const;

export function SettingsLayout() {
  return (
    <main className="page settings" id="content">
      <header className="page-head">
        <h1>{t.settings.title}</h1>
      </header>
      <div className="settings-grid">
        <nav className="settings-nav" aria-label={t.settings.sections}>
          {SECTIONS.map((section) => (
            <Link key={section.to} to={section.to} className="nav-item">
              {section.label}
            </Link>
          ))}
        </nav>
        <div className="settings-body">
          <Outlet />
        </div>
      </div>
    </main>
  );
}
