//! The events of an answer.
//!
//! ```text
//! message_start ─► ( content_block_start ─► content_block_delta* ─► content_block_stop )* ─► message_delta ─► message_stop
//!                    ping and error at any time; unknown events and blocks are passed over
//! ```
//!
//! A part is done at its `content_block_stop`, never before: a tool call that was cut is not one.

use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::block::{Block, Body, next_index};
use crate::chat::content::Usage;
use crate::llm::calls::{ArgumentText, CallIds, wire_name};
use crate::llm::classify::Teller;
use crate::llm::json::parse;
use crate::llm::sse::{Decoder, Flow};
use crate::llm::usage::Counts;
use crate::llm::{Event, FinishReason, ProviderError};

/// Blocks of one answer.
const BLOCKS_MAX: u32 = 4_096;

/// The decoder of one answer.
pub(in crate::llm) struct Stream {
    ids: CallIds,
    teller: Teller,
    request_id: Option<String>,
    open: BTreeMap<u64, Block>,
    parts: u32,
    has_calls: bool,
    counts: Counts,
    stop: Option<FinishReason>,
}
#[derive(Deserialize)]
struct BlockStart {
    index: u64,
    content_block: Box<RawValue>,
}
impl Stream {
    /// For one answer to the prompt that `ids` knows.
    pub(in crate::llm) fn new(ids: CallIds, teller: Teller, request_id: Option<String>) -> Self {
        Self {
            ids,
            teller,
            request_id,
            open: BTreeMap::new(),
            parts: 0,
            has_calls: false,
            counts: Counts::default(),
            stop: None,
        }
    }

    fn begin(&mut self, data: &str, out: &mut VecDeque<Event>) -> Result<(), ProviderError> {
        let start: BlockStart = serde_json::from_str(data).map_err(|_| self.nonsense(data))?;
        if self.parts >= BLOCKS_MAX || self.open.len() >= BLOCKS_MAX as usize {
            return Err(self.teller.bad_response("more than 4,096 blocks", b""));
        }
        let block: Value =
            serde_json::from_str(start.content_block.get()).map_err(|_| self.nonsense(data))?;
        let text = |name: &str| block.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        let mut index = None;
        let body = match text("type").as_str() {
            "text" => Body::Text {
                text: String::new(),
                citations: block
                    .get("citations")
                    .and_then(Value::as_array)
                    .cloned()
                    .unwrap_or_default(),
            },
            "thinking" => Body::Thinking { text: String::new(), signature: text("signature") },
            "tool_use" => {
                let place = next_index(&mut self.parts);
                index = Some(place);
                self.has_calls = true;
                let id = self.ids.unique(&text("id"), place);
                let name = wire_name(&text("name")).into_owned();
                out.push_back(Event::ToolCallStarted {
                    index: place,
                    tool_call_id: id.clone(),
                    name: name.clone(),
                });
                Body::ToolUse { id, sent_id: text("id"), name, arguments: ArgumentText::default() }
            }
            kind => Body::Other { kind: kind.to_owned(), input: String::new() },
        };
        let first = match &body {
            Body::Text { .. } => text("text"),
            Body::Thinking { .. } => text("thinking"),
            _ => String::new(),
        };
        let mut block = Block { index, start: start.content_block, body };
        block.append(&first, &mut self.parts, out);
        self.open.insert(start.index, block);
        Ok(())
    }

    fn delta(&mut self, event: &Value, out: &mut VecDeque<Event>) {
        let Some(block) =
            event.get("index").and_then(Value::as_u64).and_then(|index| self.open.get_mut(&index))
        else {
            return;
        };
        let delta = &event["delta"];
        let text = |name: &str| delta.get(name).and_then(Value::as_str).unwrap_or("");
        match text("type") {
            "text_delta" => block.append(text("text"), &mut self.parts, out),
            "thinking_delta" => block.append(text("thinking"), &mut self.parts, out),
            "input_json_delta" => block.append(text("partial_json"), &mut self.parts, out),
            "signature_delta" => {
                if let Body::Thinking { signature, .. } = &mut block.body {
                    signature.push_str(text("signature"));
                }
            }
            "citations_delta" => {
                if let (Body::Text { citations, .. }, Some(citation)) =
                    (&mut block.body, delta.get("citation"))
                {
                    citations.push(citation.clone());
                }
            }
            _ => {}
        }
    }

    fn end_block(&mut self, index: u64, out: &mut VecDeque<Event>) {
        let Some(block) = self.open.remove(&index) else { return };
        let begun = block.index;
        if let Some(part) = block.into_part() {
            let index = begun.unwrap_or_else(|| next_index(&mut self.parts));
            out.push_back(Event::PartDone { index, part: Box::new(part) });
        }
    }

    fn message_delta(&mut self, event: &Value) {
        self.counts.anthropic(&event["usage"]);
        let delta = &event["delta"];
        let Some(reason) = delta.get("stop_reason").and_then(Value::as_str) else { return };
        self.stop = Some(match reason {
            "end_turn" | "stop_sequence" => FinishReason::EndTurn,
            "tool_use" => FinishReason::ToolUse,
            "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
            "pause_turn" => FinishReason::Pause,
            "refusal" => {
                let details = delta
                    .get("stop_details")
                    .or_else(|| event.get("stop_details"))
                    .unwrap_or(delta);
                let said = |name: &str| details.get(name).and_then(Value::as_str);
                let why = said("explanation").or_else(|| said("category"));
                FinishReason::Refusal(why.unwrap_or("The model refused.").to_owned())
            }
            other => FinishReason::Other(other.chars().take(64).collect()),
        });
    }

    fn nonsense(&self, data: &str) -> ProviderError {
        self.teller.bad_response("an event that is not what the protocol says", data.as_bytes())
    }
}

impl Decoder for Stream {
    fn event(
        &mut self,
        _name: Option<&str>,
        data: &str,
        out: &mut VecDeque<Event>,
    ) -> Result<Flow, ProviderError> {
        let event: Value = parse(data).ok_or_else(|| self.nonsense(data))?;
        match event.get("type").and_then(Value::as_str) {
            Some("message_start") => {
                let message = &event["message"];
                self.counts.anthropic(&message["usage"]);
                out.push_back(Event::Started {
                    model: message.get("model").and_then(Value::as_str).map(str::to_owned),
                    request_id: self.request_id.clone(),
                });
            }
            Some("content_block_start") => self.begin(data, out)?,
            Some("content_block_delta") => self.delta(&event, out),
            Some("content_block_stop") => {
                if let Some(index) = event.get("index").and_then(Value::as_u64) {
                    self.end_block(index, out);
                }
            }
            Some("message_delta") => self.message_delta(&event),
            Some("message_stop") => {
                self.finish(out);
                return Ok(Flow::Done);
            }
            Some("error") => return Err(self.teller.event(&event)),
            Some(_) => {}
            None if event.get("error").is_some() => return Err(self.teller.event(&event)),
            None => return Err(self.nonsense(data)),
        }
        Ok(Flow::More)
    }

    fn has_stopped(&self) -> bool {
        self.stop.is_some()
    }

    fn finish(&mut self, out: &mut VecDeque<Event>) {
        // A reason to stop comes after every block; one that is still open forgot its end.
        let open: Vec<u64> = self.open.keys().copied().collect();
        for index in open {
            self.end_block(index, out);
        }
        let reason = match self.stop.take() {
            None | Some(FinishReason::EndTurn) if self.has_calls => FinishReason::ToolUse,
            Some(FinishReason::ToolUse) if !self.has_calls => FinishReason::EndTurn,
            reason => reason.unwrap_or(FinishReason::EndTurn),
        };
        let usage: Usage = self.counts.usage();
        out.push_back(Event::Finished { reason, usage });
    }
}
