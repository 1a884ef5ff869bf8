//! The chunks of an answer.
//!
//! The format says only at its end that a call is complete, so every part is done with the reason
//! to stop, and a stream that is cut before it reports no call at all.

use std::collections::VecDeque;

use serde_json::Value;

use super::reasoning::Reasoning;
use super::tool_calls::Calls;
use crate::chat::content::{Part, StoredPart};
use crate::llm::calls::CallIds;
use crate::llm::classify::Teller;
use crate::llm::json::parse;
use crate::llm::sse::{Decoder, Flow};
use crate::llm::usage::Counts;
use crate::llm::{Event, FinishReason, ProviderError};

/// The decoder of one answer.
pub(in crate::llm) struct Stream {
    teller: Teller,
    request_id: Option<String>,
    started: bool,
    parts: u32,
    text: Option<Text>,
    reasoning: Option<(u32, Reasoning)>,
    calls: Calls,
    refusal: String,
    counts: Counts,
    stop: Option<String>,
}

#[derive(Debug)]
struct Text {
    index: u32,
    text: String,
}

impl Stream {
    /// For one answer to the prompt that `ids` knows.
    pub(in crate::llm) fn new(ids: CallIds, teller: Teller, request_id: Option<String>) -> Self {
        Self {
            teller,
            request_id,
            started: false,
            parts: 0,
            text: None,
            reasoning: None,
            calls: Calls::new(ids),
            refusal: String::new(),
            counts: Counts::default(),
            stop: None,
        }
    }

    fn chunk(&mut self, chunk: &Value, out: &mut VecDeque<Event>) -> Result<(), ProviderError> {
        if !self.started {
            self.started = true;
            let text = |name: &str| chunk.get(name).and_then(Value::as_str).map(str::to_owned);
            out.push_back(Event::Started {
                model: text("model").filter(|model| !model.is_empty()),
                request_id: self.request_id.clone().or_else(|| text("id")),
            });
        }
        self.counts.chat(&chunk["usage"]);
        // Only the first choice was asked for; the usage chunk has none.
        let Some(choice) = chunk.pointer("/choices/0") else { return Ok(()) };
        if let Some(error) = choice.get("error").filter(|error| error.is_object()) {
            return Err(self.teller.event(error));
        }
        let delta = choice.get("delta").or_else(|| choice.get("message")).unwrap_or(&Value::Null);
        self.delta(delta, out)?;
        if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str)
            && !reason.is_empty()
        {
            self.stop = Some(reason.chars().take(64).collect());
        }
        Ok(())
    }

    fn delta(&mut self, delta: &Value, out: &mut VecDeque<Event>) -> Result<(), ProviderError> {
        self.think(delta, out);
        match &delta["content"] {
            Value::String(text) => self.say(text, out),
            Value::Array(pieces) => {
                for piece in pieces {
                    if let Some(text) = piece.get("text").and_then(Value::as_str) {
                        self.say(text, out);
                    }
                }
            }
            _ => {}
        }
        if let Some(refusal) = delta.get("refusal").and_then(Value::as_str) {
            self.refusal.push_str(refusal);
            self.say(refusal, out);
        }
        if let Some(calls) = delta.get("tool_calls").and_then(Value::as_array) {
            for call in calls {
                if !self.calls.piece(call, &mut self.parts, out) {
                    return Err(self.teller.bad_response("more than 4,096 tool calls", b""));
                }
            }
        }
        Ok(())
    }

    fn think(&mut self, delta: &Value, out: &mut VecDeque<Event>) {
        if !Reasoning::is_in(delta) {
            return;
        }
        let (index, reasoning) = self.reasoning.get_or_insert_with(|| {
            self.parts += 1;
            (self.parts - 1, Reasoning::default())
        });
        let shown = reasoning.push(delta);
        if !shown.is_empty() {
            out.push_back(Event::Reasoning { index: *index, delta: shown });
        }
    }

    fn say(&mut self, piece: &str, out: &mut VecDeque<Event>) {
        if piece.is_empty() {
            return;
        }
        let text = self.text.get_or_insert_with(|| {
            self.parts += 1;
            Text { index: self.parts - 1, text: String::new() }
        });
        text.text.push_str(piece);
        out.push_back(Event::Text { index: text.index, delta: piece.to_owned() });
    }

    fn reason(&self) -> FinishReason {
        let has_calls = !self.calls.is_empty();
        if !self.refusal.is_empty() {
            return FinishReason::Refusal(self.refusal.chars().take(500).collect());
        }
        match self.stop.as_deref().unwrap_or("") {
            "length" | "max_tokens" => FinishReason::Length,
            "content_filter" => FinishReason::ContentFilter,
            // Several servers say `stop` although they call tools, or the other way round.
            "stop" | "tool_calls" | "function_call" | "tool_use" | "end_turn" | "eos" | "" => {
                if has_calls {
                    FinishReason::ToolUse
                } else {
                    FinishReason::EndTurn
                }
            }
            _ if has_calls => FinishReason::ToolUse,
            other => FinishReason::Other(other.to_owned()),
        }
    }
}

impl Decoder for Stream {
    fn event(
        &mut self,
        name: Option<&str>,
        data: &str,
        out: &mut VecDeque<Event>,
    ) -> Result<Flow, ProviderError> {
        let data = data.trim();
        if data == "[DONE]" {
            if !self.started {
                return Err(self.teller.bad_response("an end without an answer", data.as_bytes()));
            }
            self.finish(out);
            return Ok(Flow::Done);
        }
        if data.is_empty() {
            return Ok(Flow::More);
        }
        let chunk: Value = parse(data).filter(Value::is_object).ok_or_else(|| {
            self.teller.bad_response("an event that is not a JSON object", data.as_bytes())
        })?;
        let failed =
            name == Some("error") || chunk.get("error").is_some_and(|error| !error.is_null());
        if failed {
            return Err(self.teller.event(&chunk));
        }
        self.chunk(&chunk, out)?;
        if self.stop.as_deref() == Some("error") {
            return Err(self.teller.cut("the provider reports an error"));
        }
        Ok(Flow::More)
    }

    fn has_stopped(&self) -> bool {
        self.stop.is_some()
    }

    fn finish(&mut self, out: &mut VecDeque<Event>) {
        let reason = self.reason();
        let mut done: Vec<(u32, StoredPart)> = self.calls.take();
        if let Some((index, reasoning)) = self.reasoning.take() {
            done.push((index, reasoning.into_part()));
        }
        if let Some(Text { index, text }) = self.text.take() {
            done.push((index, StoredPart::from(Part::Text { text })));
        }
        done.sort_by_key(|(index, _)| *index);
        out.extend(
            done.into_iter().map(|(index, part)| Event::PartDone { index, part: Box::new(part) }),
        );
        out.push_back(Event::Finished { reason, usage: self.counts.usage() });
    }
}
