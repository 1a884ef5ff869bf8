//! The turn that the crash tests run, and the oracle.
//!
//! One step with two commands side by side (`a`, and `b` which takes 300 ms), one step with a file
//! edit, then a final text. Each effect leaves a line that names the turn, so doubling shows.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::fake_llm::{Answer, FakeLlm};

/// What the model says at the end.
pub const FINAL_TEXT: &str = "Both commands ran and the file is edited.";

/// One run of the turn.
#[derive(Clone, Debug)]
pub struct Turn {
    /// In every line that the turn writes, and in its message.
    pub id: String,
    /// Whether three agents do the work, side by side, instead of the turn itself.
    pub family: bool,
}

/// The agents of a family.
pub const AGENTS: [&str; 3] = ["x", "y", "z"];

impl Turn {
    /// The turn numbered `number`; makes the file it edits.
    pub fn prepare(root: &Path, number: usize, family: bool) -> Result<Self> {
        let turn = Self { id: format!("turn{number:04}"), family };
        std::fs::write(root.join(turn.file()), "begin\nend\n")?;
        Ok(turn)
    }

    fn file(&self) -> String {
        format!("{}.txt", self.id)
    }

    fn line(&self, tool: &str) -> String {
        format!("{}-{tool}", self.id)
    }

    /// What the user says.
    pub fn text(&self) -> String {
        format!("please do {}", self.id)
    }

    /// The names of the models that play the turn; the first is the chat's.
    pub fn models(&self) -> Vec<String> {
        let agents = AGENTS.iter().filter(|_| self.family).map(|agent| self.line(agent));
        std::iter::once(self.id.clone()).chain(agents).collect()
    }

    /// One step that begins three agents and waits for them; each runs one command.
    fn script_family(&self, model: &FakeLlm) {
        let spawn = |agent: &str| {
            json!({"type": "general", "prompt": format!("please do {}", self.line(agent)),
                "title": self.line(agent), "model": self.line(agent)})
        };
        let [x, y, z] = AGENTS.map(spawn);
        let all =
            Answer::call("spawn_agent", &x).and_call("spawn_agent", &y).and_call("spawn_agent", &z);
        model.play(&self.id, [all, Answer::text(FINAL_TEXT)]);
        for agent in AGENTS {
            let line = self.line(agent);
            let command = json!({"command": format!("echo {line} >> ledger")});
            model.play(&line, [Answer::call("execute", &command), Answer::text("It ran.")]);
        }
    }

    /// What the model of the turn's name answers, step by step.
    pub fn script(&self, model: &FakeLlm) {
        if self.family {
            return self.script_family(model);
        }
        let shell = |tool: &str, before: &str| json!({"command": format!("{before}echo {} >> ledger", self.line(tool))});
        let edit = json!({"files": [{"path": self.file(), "edits": [
            {"old_text": "end\n", "new_text": format!("{}\nend\n", self.line("c"))}]}]});
        let both = Answer::call("execute", &shell("a", ""))
            .and_call("execute", &shell("b", "sleep 0.3; "));
        model.play(&self.id, [both, Answer::call("edit_files", &edit), Answer::text(FINAL_TEXT)]);
    }

    /// Everything that is not as promised; empty: all is well.
    pub fn breaches(&self, root: &Path, messages: &[Value]) -> Result<Vec<String>> {
        let mut breaches = Vec::new();
        let ledger = std::fs::read_to_string(root.join("ledger")).unwrap_or_default();
        let commands: &[&str] = if self.family { &AGENTS } else { &["a", "b"] };
        for tool in commands {
            let count = ledger.lines().filter(|line| *line == self.line(tool)).count();
            if count != 1 {
                breaches.push(format!("command {tool} ran {count} times"));
            }
        }
        if self.family {
            breaches.extend(self.family_breaches(messages));
            return Ok(breaches);
        }
        let edited =
            std::fs::read_to_string(root.join(self.file())).context("the edited file is gone")?;
        let expected = format!("begin\n{}\nend\n", self.line("c"));
        if edited != expected {
            breaches.push(format!("the edited file is {edited:?}"));
        }
        breaches.extend(self.history_breaches(messages));
        Ok(breaches)
    }

    /// What is not as promised when keepers were killed, and how many results say that a process was
    /// lost. A command may then have run or not, once at most, and only its own result may say so;
    /// a result that is no error is of a command that ran.
    pub fn breaches_without_keepers(
        &self,
        root: &Path,
        messages: &[Value],
    ) -> Result<(Vec<String>, usize)> {
        let mut errors = Vec::new();
        let parts = messages.iter().filter_map(|m| m["content"].as_array()).flatten();
        for part in parts.filter(|part| part["type"] == "tool_result") {
            let text = part.to_string();
            let says_so = ["lost", "not_started"].iter().any(|state| text.contains(state));
            if part["is_error"] == true || says_so {
                errors.push(text);
            }
        }
        let mut breaches = self.breaches(root, messages)?;
        // Each error accounts for itself, and for one command that did not run.
        let is_excused = |breach: &String| {
            breach.starts_with("a tool failed") && breach.contains("keeper")
                || breach.ends_with("ran 0 times")
        };
        let absent = breaches.iter().filter(|breach| breach.ends_with("ran 0 times")).count();
        if absent > errors.len() {
            breaches.push(format!("{absent} commands did not run and {} say so", errors.len()));
        }
        breaches.retain(|breach| !is_excused(breach));
        Ok((breaches, errors.len()))
    }

    /// What is not as promised in the parent's history: three reports, each of work that was done.
    fn family_breaches(&self, messages: &[Value]) -> Vec<String> {
        let mut breaches = Vec::new();
        let roles: Vec<&str> = messages.iter().filter_map(|m| m["role"].as_str()).collect();
        if roles != ["user", "assistant", "tool", "assistant"] {
            breaches.push(format!("the history is {roles:?}"));
        }
        let parts = messages.iter().filter_map(|m| m["content"].as_array()).flatten();
        let results: Vec<&Value> = parts.filter(|part| part["type"] == "tool_result").collect();
        let told = results.iter().filter(|part| {
            part["result"]["status"] == "done" && part["result"]["report"] == "It ran."
        });
        if results.len() != AGENTS.len() || told.count() != AGENTS.len() {
            breaches.push(format!("the reports are {results:?}"));
        }
        breaches
    }

    fn history_breaches(&self, messages: &[Value]) -> Vec<String> {
        let mut breaches = Vec::new();
        let roles: Vec<&str> = messages.iter().filter_map(|m| m["role"].as_str()).collect();
        if roles != ["user", "assistant", "tool", "assistant", "tool", "assistant"] {
            breaches.push(format!("the history is {roles:?}"));
        }
        let mut open: BTreeMap<&str, usize> = BTreeMap::new();
        for part in messages.iter().filter_map(|m| m["content"].as_array()).flatten() {
            let id = part["tool_call_id"].as_str().unwrap_or_default();
            match part["type"].as_str() {
                Some("tool_call") => {
                    open.entry(id).or_default();
                }
                Some("tool_result") => {
                    *open.entry(id).or_default() += 1;
                    if part["is_error"] == true {
                        breaches.push(format!("a tool failed: {part}"));
                    }
                }
                _ => {}
            }
        }
        if open.len() != 3 || open.values().any(|results| *results != 1) {
            breaches.push(format!("results per tool call: {open:?}"));
        }
        let last =
            messages.last().and_then(|m| m["content"].as_array()).map_or(&[][..], Vec::as_slice);
        let text: String = last.iter().filter_map(|part| part["text"].as_str()).collect();
        if text != FINAL_TEXT {
            breaches.push(format!("the answer is {text:?}"));
        }
        breaches
    }
}

/// Fails with every breach.
pub fn ensure_kept(what: &str, breaches: &[String]) -> Result<()> {
    ensure!(breaches.is_empty(), "{what}:\n  {}", breaches.join("\n  "));
    Ok(())
}
