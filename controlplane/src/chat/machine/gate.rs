//! Whom a tool call waits for before it may run: a pure function of the chat's mode, of what the
//! call would do, and of the rules that people have made.
//!
//! ```text
//!            │ read │ edit        │ act         │ question │ plan │ client
//!   ask      │ runs │ approval    │ approval    │ person   │ person │ client
//!   plan     │ runs │ refused (1) │ runs (2)    │ person   │ person │ client
//!   edit     │ runs │ runs        │ approval    │ person   │ person │ client
//!   auto     │ runs │ runs        │ runs        │ person   │ person │ client
//! ```
//!
//! (1) by the catalogue, with an error result for the model; nothing waits. (2) a command, in the
//! daemon's sandbox, in which it changes nothing (`docs/design/021-sandbox.md`); everything else as (1). A
//! call keeps what was decided here: let through as one that changes nothing, it stays one when the
//! mode is another by the time it runs. A rule turns an *approval* into *runs*.
//!
//! A rule's pattern never lets more through than it says: `*` stands for text without anything
//! that a shell would read as a second command, a redirection or a substitution.

use serde::{Deserialize, Serialize};

/// What a call would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// Changes nothing, or is answered with an error anyway.
    #[default]
    Free,
    /// Changes these files, all inside the workspace.
    Edit {
        /// As the model wrote them; at least one.
        paths: Vec<String>,
    },
    /// Runs something, or changes what is not a file.
    Act {
        /// What a rule is about, such as the command; none: no rule may stand for a person here.
        subject: Option<String>,
    },
    /// Asks the user.
    Question,
    /// Proposes a plan to the user.
    Plan,
    /// Is run by the client that declared the tool.
    Client,
}

/// Whom a call waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Nobody: it may run.
    #[default]
    Open,
    /// A person who allows it.
    Approval,
    /// A person who answers.
    Question,
    /// A person who approves the plan.
    Plan,
    /// The client that declared the tool.
    Client,
    /// Agents that the chat began. A call comes to this while it runs, never at its beginning.
    Agents,
}

impl Gate {
    /// The text in SQL and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approval => "approval",
            Self::Question => "question",
            Self::Plan => "plan",
            Self::Client => "client",
            Self::Agents => "agents",
        }
    }
}

impl std::str::FromStr for Gate {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Open, Self::Approval, Self::Question, Self::Plan, Self::Client, Self::Agents]
            .into_iter()
            .find(|gate| gate.as_str() == text)
            .ok_or(())
    }
}

/// What the agent may do in a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Reading is free.
    Ask,
    /// Reading is free, commands run where they can only read, and nothing else is possible.
    Plan,
    /// Reading and editing files are free.
    Edit,
    /// Everything is free.
    Auto,
}

impl Mode {
    /// Of its text; what nobody knows is the strictest that can work.
    #[must_use]
    pub fn of(text: &str) -> Self {
        match text {
            "plan" => Self::Plan,
            "edit" => Self::Edit,
            "auto" => Self::Auto,
            _ => Self::Ask,
        }
    }

    /// Whether nothing may be changed in it.
    #[must_use]
    pub const fn is_read_only(self) -> bool {
        matches!(self, Self::Plan)
    }
}

/// A decision that a person made for calls to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The tool.
    pub tool: String,
    /// Of its subject.
    pub pattern: Pattern,
}

/// Text with `*` for anything harmless. See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

/// What a `*` never stands for.
const NEVER_WILD: &[char] =
    &[';', '&', '|', '<', '>', '`', '$', '(', ')', '{', '}', '\\', '\n', '\r', '\0'];

impl Pattern {
    /// Of its text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `subject` is one of those it stands for.
    #[must_use]
    pub fn matches(&self, subject: &str) -> bool {
        let mut pieces = self.0.split('*');
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = subject.strip_prefix(first) else { return false };
        let pieces: Vec<&str> = pieces.collect();
        let Some((last, middle)) = pieces.split_last() else { return rest.is_empty() };
        for piece in middle {
            let Some(at) = rest.find(piece) else { return false };
            if rest[..at].contains(NEVER_WILD) {
                return false;
            }
            rest = &rest[at + piece.len()..];
        }
        rest.strip_suffix(last).is_some_and(|wild| !wild.contains(NEVER_WILD))
    }
}

/// Whom a call of `tool` waits for.
#[must_use]
pub fn gate(mode: Mode, tool: &str, class: &Class, rules: &[Rule]) -> Gate {
    let allowed =
        |subject: &str| rules.iter().any(|rule| rule.tool == tool && rule.pattern.matches(subject));
    match (class, mode) {
        (Class::Question, _) => Gate::Question,
        (Class::Plan, _) => Gate::Plan,
        (Class::Client, _) => Gate::Client,
        (Class::Free, _) | (_, Mode::Plan | Mode::Auto) | (Class::Edit { .. }, Mode::Edit) => {
            Gate::Open
        }
        (Class::Edit { paths }, Mode::Ask)
            if paths.iter().all(|path| !climbs(path) && allowed(path)) =>
        {
            Gate::Open
        }
        (Class::Act { subject: Some(subject) }, Mode::Ask | Mode::Edit) if allowed(subject) => {
            Gate::Open
        }
        (Class::Edit { .. } | Class::Act { .. }, Mode::Ask | Mode::Edit) => Gate::Approval,
    }
}

/// Whether a path leads upwards: then its beginning does not say where it ends.
fn climbs(path: &str) -> bool {
    path.split(['/', '\\']).any(|part| part == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(subject: &str) -> Class {
        Class::Act { subject: Some(subject.into()) }
    }

    fn edit() -> Class {
        Class::Edit { paths: vec!["src/a.rs".into()] }
    }

    #[test]
    fn each_mode_waits_for_whom_the_table_says() {
        use Gate::{Approval, Client, Open, Plan, Question};
        let classes = [Class::Free, edit(), act("ls"), Class::Question, Class::Plan, Class::Client];
        for (mode, expected) in [
            (Mode::Ask, [Open, Approval, Approval, Question, Plan, Client]),
            (Mode::Plan, [Open, Open, Open, Question, Plan, Client]),
            (Mode::Edit, [Open, Open, Approval, Question, Plan, Client]),
            (Mode::Auto, [Open, Open, Open, Question, Plan, Client]),
        ] {
            let gates = classes.clone().map(|class| gate(mode, "tool", &class, &[]));
            assert_eq!(gates, expected, "{mode:?}");
        }
    }

    #[test]
    fn a_rule_stands_for_a_person_only_where_it_fits() {
        let rules = [
            Rule { tool: "execute".into(), pattern: Pattern::new("cargo test*") },
            Rule { tool: "edit_files".into(), pattern: Pattern::new("src/*") },
        ];
        assert_eq!(gate(Mode::Ask, "execute", &act("cargo test -p x"), &rules), Gate::Open);
        assert_eq!(gate(Mode::Ask, "execute", &act("cargo build"), &rules), Gate::Approval);
        assert_eq!(gate(Mode::Ask, "other", &act("cargo test"), &rules), Gate::Approval);
        let unnamed = Class::Act { subject: None };
        assert_eq!(gate(Mode::Edit, "execute", &unnamed, &rules), Gate::Approval);
        assert_eq!(gate(Mode::Ask, "edit_files", &edit(), &rules), Gate::Open);
        let climbing = Class::Edit { paths: vec!["src/../.git/config".into()] };
        assert_eq!(gate(Mode::Ask, "edit_files", &climbing, &rules), Gate::Approval);
        let two = Class::Edit { paths: vec!["src/a.rs".into(), ".git/config".into()] };
        assert_eq!(gate(Mode::Ask, "edit_files", &two, &rules), Gate::Approval);
    }

    #[test]
    fn a_wildcard_never_covers_a_second_command() {
        let pattern = Pattern::new("git status*");
        assert!(pattern.matches("git status"));
        assert!(pattern.matches("git status --short src"));
        for trick in [
            "git status; rm -rf /",
            "git status && curl evil",
            "git status | sh",
            "git status\nrm x",
            "git status $(rm x)",
            "git status `rm x`",
            "git status > /etc/passwd",
            "git status \\\nrm",
            "git stash",
        ] {
            assert!(!pattern.matches(trick), "{trick:?}");
        }
        // What stands in the pattern itself was read by a person.
        assert!(Pattern::new("make && make test").matches("make && make test"));
        assert!(!Pattern::new("make").matches("make install"));
        let middle = Pattern::new("cargo * --locked");
        assert!(middle.matches("cargo test --locked"));
        assert!(!middle.matches("cargo x; y --locked"));
    }
}
