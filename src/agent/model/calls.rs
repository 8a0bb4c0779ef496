//! Puts the pieces of tool calls in order.
//!
//! Servers number calls from 0, give every call the number 0, or give none; ids come once, always
//! or never. What comes out has a number per call and an id and a name with its first piece.

use crate::ids::RunId;
use crate::run::ToolCallDelta;

use super::chunk::CallPiece;

/// Most tool calls of one answer.
pub(super) const CALLS_MAX: usize = 128;

/// Most bytes of arguments that wait for the name of their tool, and of the id of a call.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// The calls of one answer so far.
#[derive(Debug)]
pub(super) struct Calls {
    calls: Vec<Call>,
    run: RunId,
}

/// One call.
#[derive(Debug)]
struct Call {
    number: Option<u64>,
    id: Option<String>,
    is_named: bool,
    held: String,
}

/// An answer with more calls than an answer may have, with arguments of no tool, or with an id that
/// is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Calls {
    pub(super) const fn new(run: RunId) -> Self {
        Self {
            calls: Vec::new(),
            run,
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Places a piece; `None` when it has to wait for the name of its tool.
    pub(super) fn add(&mut self, piece: &CallPiece<'_>) -> Result<Option<ToolCallDelta>, TooMany> {
        let id = piece.id.as_ref().and_then(|id| id.some());
        let function = piece.function.as_ref();
        let name = function.and_then(|f| f.name.as_ref()?.some());
        let at = match self.find(piece.index.0, id, name) {
            Some(at) => at,
            None => self.begin(piece.index.0, id)?,
        };
        let index = u32::try_from(at).map_err(|_too_large| TooMany)?;
        let run = self.run;
        let call = self.calls.get_mut(at).ok_or(TooMany)?;
        let arguments = function.map(|f| f.arguments()).unwrap_or_default();
        if call.is_named {
            let is_news = !arguments.is_empty();
            return Ok(is_news.then(|| ToolCallDelta {
                index,
                id: None,
                name: None,
                arguments: arguments.into_owned(),
            }));
        }
        call.held.push_str(&arguments);
        let Some(name) = name else {
            let fits = call.held.len() <= HELD_BYTES_MAX;
            return fits.then_some(None).ok_or(TooMany);
        };
        call.is_named = true;
        let id = call.id.clone();
        Ok(Some(ToolCallDelta {
            index,
            id: Some(id.unwrap_or_else(|| format!("call_{}_{index}", run.as_uuid().simple()))),
            name: Some(name.to_owned()),
            arguments: std::mem::take(&mut call.held),
        }))
    }

    /// The call a piece belongs to, if it is not the first of a new one.
    fn find(&self, number: Option<u64>, id: Option<&str>, name: Option<&str>) -> Option<usize> {
        let last = self.calls.len().checked_sub(1);
        match (number, id) {
            (Some(_), _) => {
                let at = self.calls.iter().rposition(|call| call.number == number)?;
                let known = self.calls.get(at)?.id.as_deref();
                let is_other = id.is_some() && known.is_some() && known != id;
                (!is_other).then_some(at)
            }
            (None, Some(_)) => self.calls.iter().rposition(|call| call.id.as_deref() == id),
            (None, None) if name.is_some() => None,
            (None, None) => last,
        }
    }

    fn begin(&mut self, number: Option<u64>, id: Option<&str>) -> Result<usize, TooMany> {
        let is_long = id.is_some_and(|id| id.len() > HELD_BYTES_MAX);
        if is_long || self.calls.len() >= CALLS_MAX {
            return Err(TooMany);
        }
        self.calls.push(Call {
            number,
            id: id.map(str::to_owned),
            is_named: false,
            held: String::new(),
        });
        Ok(self.calls.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    /// What comes out for these pieces, as `index id name arguments`.
    fn check(pieces: &[&str], expected: &[&str]) {
        let mut calls = Calls::new(RunId::from_uuid(Uuid::nil()));
        let seen: Vec<String> = pieces
            .iter()
            .filter_map(|piece| calls.add(&serde_json::from_str(piece).unwrap()).unwrap())
            .map(|delta| {
                let id = delta.id.as_deref().unwrap_or("-");
                let name = delta.name.as_deref().unwrap_or("-");
                format!("{} {id} {name} {}", delta.index, delta.arguments)
            })
            .collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn numbered_calls_stream_side_by_side() {
        check(
            &[
                r#"{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}"#,
                r#"{"index":0,"function":{"arguments":"{\"x\""}}"#,
                r#"{"index":1,"id":"b","function":{"name":"g","arguments":"{}"}}"#,
                r#"{"index":0,"function":{"arguments":":1}"}}"#,
                r#"{"index":0,"function":{"arguments":""}}"#,
            ],
            &["0 a f ", "0 - - {\"x\"", "1 b g {}", "0 - - :1}"],
        );
    }

    #[test]
    fn the_same_number_with_another_id_is_another_call() {
        check(
            &[
                r#"{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}"#,
                r#"{"index":0,"id":"b","function":{"name":"f","arguments":"{}"}}"#,
                r#"{"index":0,"id":"b","function":{"arguments":" "}}"#,
            ],
            &["0 a f {}", "1 b f {}", "1 - -  "],
        );
    }

    #[test]
    fn calls_without_numbers_are_told_apart_by_id_or_name() {
        check(
            &[
                r#"{"id":"a","function":{"name":"f","arguments":"1"}}"#,
                r#"{"function":{"arguments":"2"}}"#,
                r#"{"id":"b","function":{"name":"g","arguments":"3"}}"#,
                r#"{"id":"a","function":{"arguments":"4"}}"#,
            ],
            &["0 a f 1", "0 - - 2", "1 b g 3", "0 - - 4"],
        );
        let nil = "call_00000000000000000000000000000000";
        check(
            &[
                r#"{"function":{"name":"f","arguments":{"x":1}}}"#,
                r#"{"id":"","function":{"name":"f","arguments":{}}}"#,
            ],
            &[
                &format!("0 {nil}_0 f {{\"x\":1}}"),
                &format!("1 {nil}_1 f {{}}"),
            ],
        );
    }

    #[test]
    fn arguments_wait_for_the_name() {
        check(
            &[
                r#"{"index":0,"id":"a"}"#,
                r#"{"index":0,"function":{"arguments":"{"}}"#,
                r#"{"index":0,"function":{"name":"f"}}"#,
                r#"{"index":0,"function":{"arguments":"}"}}"#,
            ],
            &["0 a f {", "0 - - }"],
        );
    }

    #[test]
    fn calls_and_held_arguments_are_bounded() {
        let mut calls = Calls::new(RunId::from_uuid(Uuid::nil()));
        for number in 0..CALLS_MAX {
            let piece = format!(r#"{{"index":{number},"function":{{"name":"f"}}}}"#);
            assert!(calls.add(&serde_json::from_str(&piece).unwrap()).is_ok());
        }
        let one_more = serde_json::from_str(r#"{"index":999}"#).unwrap();
        assert_eq!(calls.add(&one_more), Err(TooMany));

        let mut calls = Calls::new(RunId::from_uuid(Uuid::nil()));
        let text = "x".repeat(HELD_BYTES_MAX + 1);
        let piece = format!(r#"{{"index":0,"function":{{"arguments":"{text}"}}}}"#);
        assert_eq!(
            calls.add(&serde_json::from_str(&piece).unwrap()),
            Err(TooMany)
        );
    }
}
