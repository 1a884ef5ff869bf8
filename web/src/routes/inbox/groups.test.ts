import { describe, expect, it } from "vitest";
import type { ChatHead, ChatStatus } from "../../lib/api/types";
import { groupChats, matches } from "./groups";

function chat(id: string, status: ChatStatus, version = 1): ChatHead {
  return { id, title: `Title of ${id}`, label: "fixed it", mode: "auto", status, archived: false, snapshot_version: version, created_at: "", updated_at: "" };
}

describe("the inbox", () => {
  it("puts what needs a person first and what was read last", () => {
    const chats = [chat("a", "waiting", 4), chat("b", "running"), chat("c", "error"), chat("d", "requires_action"), chat("e", "waiting", 9)];
    const groups = groupChats(chats, { a: 4, e: 8 });
    expect(groups.map((group) => [group.name, group.chats.map((one) => one.id)])).toEqual([
      ["need", ["c", "d"]],
      ["work", ["b"]],
      ["done", ["e"]],
      ["earlier", ["a"]],
    ]);
  });

  it("keeps agents under their chats, but for those that need a person themselves", () => {
    const agent = (id: string, status: ChatStatus): ChatHead => ({ ...chat(id, status), parent_id: "p", agent_type: "general" });
    const parent: ChatHead = { ...chat("p", "requires_action"), waits_for_agents: true };
    const groups = groupChats([parent, agent("x", "running"), agent("y", "requires_action"), agent("z", "error")], {});
    expect(groups.map((group) => [group.name, group.chats.map((one) => one.id)])).toEqual([
      ["need", ["y"]],
      ["work", ["p"]],
    ]);
  });

  it("filters by words, state and workspace, all of them together", () => {
    const value = chat("a", "running");
    expect(matches(value, "title FIXED", "hal-9")).toBe(true);
    expect(matches(value, "is:working ws:hal", "hal-9")).toBe(true);
    expect(matches(value, "is:done", "hal-9")).toBe(false);
    expect(matches(value, "is:nonsense", "hal-9")).toBe(false);
    expect(matches(value, "ws:other", "hal-9")).toBe(false);
  });
});
