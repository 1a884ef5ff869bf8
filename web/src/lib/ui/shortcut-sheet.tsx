import { t } from "../text/en";
import { Dialog } from "./dialog";

/** Every key, in two columns. */
export default function ShortcutSheet({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title={t.keys.title} onClose={onClose} wide>
      <div className="keys">
        {t.keys.groups.map((group) => (
          <section key={group.name}>
            <h3 className="keys-group">{group.name}</h3>
            <dl>
              {group.rows.map(([keys, what]) => (
                <div key={keys} className="keys-row">
                  <dt>{what}</dt>
                  <dd>
                    {keys.split(" ").map((key) => (
                      <kbd key={key}>{key}</kbd>
                    ))}
                  </dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
    </Dialog>
  );
}
