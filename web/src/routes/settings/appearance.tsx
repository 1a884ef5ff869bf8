import { t } from "../../lib/text/en";
import { setAppearance, useAppearance, type Density, type Theme } from "../../lib/ui/appearance";
import { Check, Choice } from "../../lib/ui/field";
import { useTitle } from "../../lib/ui/hooks";

const THEMES = (["system", "light", "dark"] as const).map((value: Theme) => ({
  value,
  label: t.appearance.themes[value],
}));
const DENSITIES = (["comfortable", "compact"] as const).map((value: Density) => ({
  value,
  label: t.appearance.densities[value],
}));

export function AppearancePage() {
  useTitle(t.appearance.title);
  const { theme, density, letters } = useAppearance();
  return (
    <section aria-labelledby="appearance">
      <header className="page-head">
        <h2 id="appearance" className="section-title">
          {t.appearance.title}
        </h2>
      </header>
      <p className="page-text">{t.appearance.text}</p>
      <div className="form">
        <Choice
          legend={t.appearance.theme}
          name="theme"
          value={theme}
          options={THEMES}
          onChange={(value) => setAppearance({ theme: value })}
        />
        <Choice
          legend={t.appearance.density}
          name="density"
          value={density}
          options={DENSITIES}
          onChange={(value) => setAppearance({ density: value })}
        />
        <fieldset className="choice">
          <legend>{t.appearance.keys}</legend>
          <Check
            label={t.appearance.letters}
            checked={letters}
            onChange={(e) => setAppearance({ letters: e.target.checked })}
          />
        </fieldset>
      </div>
    </section>
  );
}
