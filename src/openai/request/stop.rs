//! `stop`: one string or up to four.

use std::borrow::Cow;

use serde::de::SeqAccess;

use crate::openai::json::{Shape, Slot};

use super::error::RequestError;

const STOPS_MAX: usize = 4;

/// `stop` as it came; only as much is kept as can be valid.
#[derive(Debug, Default)]
pub(super) struct Stop {
    texts: Vec<String>,
    too_many: bool,
    not_text: bool,
}

impl<'de> Shape<'de> for Stop {
    fn from_text(text: Cow<'de, str>) -> Option<Self> {
        Some(Self {
            texts: vec![text.into_owned()],
            ..Self::default()
        })
    }

    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut stop = Self::default();
        while let Some(entry) = seq.next_element::<Slot<Cow<'de, str>>>()? {
            match entry {
                Slot::Given(text) if stop.texts.len() < STOPS_MAX => {
                    stop.texts.push(text.into_owned());
                }
                Slot::Given(_) => stop.too_many = true,
                Slot::Absent | Slot::Wrong(_) => stop.not_text = true,
            }
        }
        Ok(Some(stop))
    }
}

impl Stop {
    /// Whether every entry is a string.
    pub(super) const fn is_text(&self) -> bool {
        !self.not_text
    }

    /// The texts that end an answer.
    pub(super) fn check(self) -> Result<Vec<String>, RequestError> {
        if self.too_many {
            return Err(RequestError::TooManyStops);
        }
        if self.texts.iter().any(String::is_empty) {
            return Err(RequestError::EmptyStop);
        }
        Ok(self.texts)
    }
}
