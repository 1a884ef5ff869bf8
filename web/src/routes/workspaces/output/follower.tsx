import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useLayoutEffect, useRef, useState } from "react";
import { exact } from "../../../lib/text/format";
import { readable } from "../../../lib/text/output";
import { t } from "../../../lib/text/en";
import { Icon } from "../../../lib/ui/icon";

/** Text kept on the page; the rest is in the pages. */
const KEPT = 256 * 1024;
/** Within so many pixels of the end the page stays at the end. */
const STICK = 64;

/** Output as it is written. */
export function Follower({ path, from }: { path: string; from: number }) {
  const client = useQueryClient();
  const [text, setText] = useState("");
  const [waiting, setWaiting] = useState(false);
  const box = useRef<HTMLPreElement>(null);
  const stuck = useRef(true);
  // Where it began: what is written meanwhile comes by itself.
  const [start] = useState(from);
  useEffect(() => {
    const decoder = new TextDecoder();
    let raw = "";
    let frame = 0;
    const add = (piece: string) => {
      raw = (raw + piece).slice(-KEPT);
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        setText(readable(raw));
      });
    };
    const source = new EventSource(`${path}/follow?offset=${start}`);
    const on = (name: string, act: (data: Record<string, unknown>) => void) =>
      source.addEventListener(name, (event) => {
        act(JSON.parse((event as MessageEvent<string>).data) as Record<string, unknown>);
      });
    on("chunk", ({ data }) => {
      add(decoder.decode(Uint8Array.from(atob(data as string), (c) => c.charCodeAt(0)), { stream: true }));
    });
    on("dropped", ({ from: first, to }) => {
      add(`\n[${t.output.dropped(exact(Number(to) - Number(first)), exact(Number(first)), exact(Number(to)))}]\n`);
    });
    on("waiting", () => setWaiting(true));
    on("resumed", () => setWaiting(false));
    on("end", () => {
      source.close();
      void client.invalidateQueries({ queryKey: ["process"] });
    });
    return () => {
      cancelAnimationFrame(frame);
      source.close();
    };
  }, [path, start, client]);
  useLayoutEffect(() => {
    const pre = box.current;
    if (pre && stuck.current) pre.scrollTop = pre.scrollHeight;
  }, [text]);
  return (
    <>
      {waiting && (
        <p className="note" role="status">
          <Icon name="warn" size={14} />
          {t.output.waiting}
        </p>
      )}
      <pre
        ref={box}
        className="pager-text pager-follow"
        tabIndex={0}
        aria-label={t.output.title}
        onScroll={(event) => {
          const { scrollHeight, scrollTop, clientHeight } = event.currentTarget;
          stuck.current = scrollHeight - scrollTop - clientHeight < STICK;
        }}
      >
        {text || t.output.nothing}
      </pre>
    </>
  );
}
