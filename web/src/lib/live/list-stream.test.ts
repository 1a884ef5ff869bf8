import { describe, expect, it } from "vitest";
import type { ChatHead } from "../api/types";
import { withAgent, withChat } from "./list-stream";

function head(id: string, updated: string, version = 1, archived = false): ChatHead {
  return {
    id, title: id, mode: "auto", status: "waiting", archived,
    snapshot_version: version, created_at: "", updated_at: updated,
  };
}

const page = { items: [head("b", "2"), head("a", "1")] };
const ids = (result: { items: ChatHead[] }) => result.items.map((item) => item.id);

describe("a list of chats", () => {
  it("moves a changed chat to its place", () => {
    expect(ids(withChat(page, head("a", "3", 2)))).toEqual(["a", "b"]);
    expect(ids(withChat(page, head("c", "0")))).toEqual(["b", "a", "c"]);
  });

  it("ignores what is older than what it shows", () => {
    const now = { items: [head("a", "5", 9)] };
    expect(withChat(now, head("a", "6", 3))).toBe(now);
  });

  it("shows agents in the order in which they were begun, each as it is now", () => {
    const agents = { items: [head("y", "2"), head("x", "1")] };
    expect(ids(withAgent(agents, head("z", "3")))).toEqual(["z", "y", "x"]);
    const later = withAgent(agents, { ...head("x", "9", 5), status: "running" });
    expect(ids(later)).toEqual(["y", "x"]);
    expect(later.items[1]?.status).toBe("running");
    expect(withAgent(later, head("x", "3", 2))).toBe(later);
  });

  it("lets go of archived chats", () => {
    expect(ids(withChat(page, head("b", "9", 2, true)))).toEqual(["a"]);
  });
});
