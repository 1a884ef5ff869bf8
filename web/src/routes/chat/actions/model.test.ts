import { describe, expect, it } from "vitest";
import type { ActionView, Envelope } from "../../../lib/api/types";
import { applyAll, INITIAL, resumed } from "../../../lib/live/chat-state";
import { answerBody, choose, exactly, offeredPattern, planOf, questionsOf, visible, type Question } from "./model";

function action(fields: Partial<ActionView>): ActionView {
  return {
    id: "op_1",
    kind: "approval",
    tool_call_id: "c",
    tool: "execute",
    args: {},
    args_hash: "h",
    created_at: "2026-01-01T00:00:00Z",
    ...fields,
  };
}

const asked = action({
  kind: "question",
  tool: "ask_user",
  args: {
    questions: [
      { question: "Which?", options: [{ label: "a" }, { label: "b", description: "second" }] },
      { question: "Why?", multiple: true, options: [{ label: "x" }, { label: "y" }] },
    ],
  },
});

describe("what waits for a person", () => {
  it("is there as long as the server says so, and told anew after a reconnect", () => {
    const waits = applyAll(INITIAL, [
      { type: "status", cursor: "1", status: "requires_action" },
      { type: "action_required", cursor: "1", actions: [asked] },
    ]);
    expect(waits.actions).toEqual([asked]);
    expect(resumed(waits).actions).toEqual([]);
    const decided = applyAll(waits, [{ type: "action_required", cursor: "2", actions: [] }]);
    expect(decided.actions).toEqual([]);
  });

  it("shows edits of messages as a change of branches", () => {
    const said = (id: string, seq: number): Envelope => ({
      type: "message",
      cursor: `${seq}`,
      message: { id, chat_id: "c", seq, revision: seq, role: "user", content: [], created_at: "2026-01-01T00:00:00Z" },
    });
    const state = applyAll(INITIAL, [said("old", 1), { type: "message_removed", cursor: "2", id: "old" }, said("new", 2)]);
    expect(state.messages.map((message) => message.id)).toEqual(["new"]);
  });

  it("needs an answer to every question, chosen or written", () => {
    const [one, many] = questionsOf(asked) as [Question, Question];
    let first = choose({ selected: [], text: "" }, one, "a");
    first = choose(first, one, "b");
    expect(first.selected).toEqual(["b"]);
    expect(answerBody(asked, [first])).toBeNull();
    let second = choose({ selected: [], text: "" }, many, "x");
    second = choose(second, many, "y");
    second = choose(second, many, "x");
    expect(second.selected).toEqual(["y"]);
    expect(answerBody(asked, [first, { ...second, text: " so " }])).toEqual({
      answers: [
        { selected: ["b"], text: null },
        { selected: ["y"], text: "so" },
      ],
      args_hash: "h",
    });
  });

  it("offers a rule for commands of the same kind, never for what a shell would take apart", () => {
    const pattern = (subject: string | null) => offeredPattern(action({ subject }));
    expect(pattern("cargo test -p x")).toBe("cargo test*");
    expect(pattern("ls -la")).toBe("ls*");
    expect(pattern("make && rm x")).toBe("make && rm x");
    expect(pattern(null)).toBeNull();
    expect(offeredPattern(action({ tool: "write_file", subject: "src/a.rs" }))).toBe("src/a.rs");
  });

  it("writes out what the eye does not see", () => {
    expect(visible("ls \u202etxt\r")).toBe("ls ⟨U+202E⟩txt⟨U+000D⟩");
    expect(exactly(action({ args: { command: "a\nb" } }))).toBe("a\nb");
    expect(exactly(action({ tool: "write_file", args: { path: "x" } }))).toBe('{\n  "path": "x"\n}');
    expect(planOf(action({ args: { title: "t", steps: ["a", 1, "b"] } })).steps).toEqual(["a", "b"]);
  });
});
