import { clock } from "../text/format";
import { t } from "../text/en";
import type { SocketState } from "../live/socket";
import { useNow } from "./hooks";

/** Two pixels at the top while a stream reconnects; nothing below it moves. */
export function ReconnectRail({ socket, onRetry }: { socket: SocketState; onRetry: () => void }) {
  const away = socket.phase === "waiting" || (socket.phase === "connecting" && socket.lostAt !== null);
  const now = useNow(500, away);
  // A connection that returns within a second is not worth a word.
  const shown = away && socket.lostAt !== null && now - socket.lostAt > 800;
  if (!shown) return null;
  const seconds = socket.retryAt ? Math.max(0, Math.ceil((socket.retryAt - now) / 1_000)) : 0;
  return (
    <div className="reconnect" role="status">
      <span className="reconnect-rail" />
      <span className="reconnect-note">
        {navigator.onLine || socket.lostAt === null
          ? t.live.reconnecting(socket.attempt, seconds)
          : t.live.offline(clock(new Date(socket.lostAt).toISOString()))}
        <button type="button" className="link" onClick={onRetry}>
          {t.common.retryNow}
        </button>
      </span>
    </div>
  );
}
