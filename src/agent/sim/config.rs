//! What a simulated agent does and how fast, as a model name or a configuration says it.
//!
//! Owns the grammar of `sim/<mode>?<knob>=<value>&…` and the bounds of every knob.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::script::SimScript;

/// Longest model name, in bytes.
const NAME_BYTES_MAX: usize = 512;

/// Most tokens of one answer.
const TOKENS_MAX: u32 = 1_000_000;

/// Longest wait a knob can ask for.
const WAIT_MAX: Duration = Duration::from_hours(1);

/// Tokens of `lorem` when nothing else is said.
const TOKENS_DEFAULT: u32 = 64;

/// What a simulated agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimMode {
    /// Answers by a small set of rules and says what it is.
    Demo,
    /// Says the last message again.
    Echo,
    /// Says seeded words.
    Lorem,
    /// Follows the steps of [`SimConfig::script`].
    Script,
}

/// How far the time between two tokens strays from its mean; always between 30 % and 170 % of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jitter {
    /// Not at all.
    #[default]
    None,
    /// Like a bell curve.
    Normal,
    /// Like a bell curve with a long tail of slow tokens.
    Lognormal,
}

/// A simulated agent: its mode and every knob.
#[derive(Clone, Debug, PartialEq)]
pub struct SimConfig {
    /// The name as it was given; it is the model id peers see.
    pub name: Arc<str>,
    /// What it does.
    pub mode: SimMode,
    /// Time to the first token (`ttftMs`).
    pub ttft: Duration,
    /// Mean time between two tokens (`interTokenMs`, or `tps` as tokens per second).
    pub inter_token: Duration,
    /// How that time strays (`jitter`).
    pub jitter: Jitter,
    /// Tokens of a `lorem` answer (`tokens`).
    pub tokens: u32,
    /// Tokens in one event (`chunkTokens`).
    pub chunk_tokens: NonZeroU32,
    /// Whether it gives way to other tasks after every event (`yield`).
    pub yields: bool,
    /// What words, jitter and failures are drawn from (`seed`).
    pub seed: u64,
    /// Share of runs that fail, from 0 to 1 (`failRate`).
    pub fail_rate: f64,
    /// HTTP status of the simulated failure (`failStatus`).
    pub fail_status: u16,
    /// Tokens after which it says nothing more and does not end (`stallAfterTokens`).
    pub stall_after_tokens: Option<u32>,
    /// Tokens after which it breaks off (`disconnectAfterTokens`).
    pub disconnect_after_tokens: Option<u32>,
    /// File that holds the script (`file`); whoever reads the configuration loads it.
    pub script_file: Option<Arc<str>>,
    /// The steps of mode `script`.
    pub script: Option<Arc<SimScript>>,
}

/// A model name of provider `sim` that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimConfigError {
    /// The name is longer than a name may be.
    #[error("the name of a simulated model is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// There is no such mode.
    #[error("sim has no mode {mode:?}: use demo, echo, lorem or script")]
    Mode {
        /// The mode.
        mode: Arc<str>,
    },
    /// There is no such knob.
    #[error("sim has no knob {knob:?}: use {KNOBS}")]
    Knob {
        /// The knob.
        knob: Arc<str>,
    },
    /// The value does not fit the knob.
    #[error("the sim knob {knob} cannot be {value:?}: {expected}")]
    Value {
        /// The knob.
        knob: Arc<str>,
        /// The value.
        value: Arc<str>,
        /// What it may be.
        expected: &'static str,
    },
}

const KNOBS: &str = "ttftMs, interTokenMs, tps, jitter, tokens, chunkTokens, yield, seed, \
                     failRate, failStatus, stallAfterTokens, disconnectAfterTokens, file";

impl SimConfig {
    /// An agent of `mode` with every knob at its default: everything is ready at once.
    pub fn new(mode: SimMode) -> Self {
        Self {
            name: mode.as_str().into(),
            mode,
            ttft: Duration::ZERO,
            inter_token: Duration::ZERO,
            jitter: Jitter::None,
            tokens: TOKENS_DEFAULT,
            chunk_tokens: NonZeroU32::MIN,
            yields: false,
            seed: 0,
            fail_rate: 0.0,
            fail_status: 500,
            stall_after_tokens: None,
            disconnect_after_tokens: None,
            script_file: None,
            script: None,
        }
    }

    /// Reads a model name of provider `sim`, such as `lorem?tokens=200&ttftMs=300&tps=50`.
    ///
    /// # Errors
    /// [`SimConfigError`] names the part that means nothing.
    pub fn parse(model_name: &str) -> Result<Self, SimConfigError> {
        if model_name.len() > NAME_BYTES_MAX {
            return Err(SimConfigError::TooLong);
        }
        let (mode, knobs) = model_name.split_once('?').unwrap_or((model_name, ""));
        let mode =
            SimMode::parse(mode).ok_or_else(|| SimConfigError::Mode { mode: mode.into() })?;
        let mut config = Self::new(mode);
        config.name = model_name.into();
        for pair in knobs.split('&').filter(|pair| !pair.is_empty()) {
            let (knob, value) = pair.split_once('=').unwrap_or((pair, ""));
            config.set(knob, &percent_decode_str(value).decode_utf8_lossy())?;
        }
        Ok(config)
    }

    /// Turns one knob.
    ///
    /// # Errors
    /// [`SimConfigError`] when there is no such knob or the value does not fit.
    pub fn set(&mut self, knob: &str, value: &str) -> Result<(), SimConfigError> {
        let value = Value { knob, value };
        match knob {
            "ttftMs" => self.ttft = value.millis()?,
            "interTokenMs" => self.inter_token = value.millis()?,
            "tps" => self.inter_token = value.per_second()?,
            "jitter" => self.jitter = value.jitter()?,
            "tokens" => self.tokens = value.count(0)?,
            "chunkTokens" => self.chunk_tokens = value.positive()?,
            "yield" => self.yields = value.switch()?,
            "seed" => self.seed = value.seed()?,
            "failRate" => self.fail_rate = value.share()?,
            "failStatus" => self.fail_status = value.status()?,
            "stallAfterTokens" => self.stall_after_tokens = Some(value.count(0)?),
            "disconnectAfterTokens" => self.disconnect_after_tokens = Some(value.count(0)?),
            "file" => self.script_file = Some(value.value.into()),
            _ => return Err(SimConfigError::Knob { knob: knob.into() }),
        }
        Ok(())
    }

    /// The same agent with the steps it is to follow.
    #[must_use]
    pub fn with_script(mut self, script: SimScript) -> Self {
        self.script = Some(Arc::new(script));
        self
    }
}

impl SimMode {
    /// The mode's name in model names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::Echo => "echo",
            Self::Lorem => "lorem",
            Self::Script => "script",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Demo, Self::Echo, Self::Lorem, Self::Script]
            .into_iter()
            .find(|mode| mode.as_str() == name)
    }
}

/// A value on its way into a knob.
struct Value<'a> {
    knob: &'a str,
    value: &'a str,
}

impl Value<'_> {
    fn wrong(&self, expected: &'static str) -> SimConfigError {
        SimConfigError::Value {
            knob: self.knob.into(),
            value: self.value.into(),
            expected,
        }
    }

    fn millis(&self) -> Result<Duration, SimConfigError> {
        let wait = self.value.parse().ok().and_then(|ms: f64| {
            Duration::try_from_secs_f64(ms / 1_000.0)
                .ok()
                .filter(|wait| *wait <= WAIT_MAX)
        });
        wait.ok_or_else(|| self.wrong("milliseconds, at most an hour"))
    }

    fn per_second(&self) -> Result<Duration, SimConfigError> {
        let wait = self.value.parse().ok().and_then(|rate: f64| {
            Duration::try_from_secs_f64(rate.recip())
                .ok()
                .filter(|wait| *wait <= WAIT_MAX)
        });
        wait.ok_or_else(|| self.wrong("tokens per second, more than 0"))
    }

    fn count(&self, least: u32) -> Result<u32, SimConfigError> {
        let count = self.value.parse().ok();
        count
            .filter(|n| (least..=TOKENS_MAX).contains(n))
            .ok_or_else(|| self.wrong("a number of tokens, at most 1000000"))
    }

    fn positive(&self) -> Result<NonZeroU32, SimConfigError> {
        NonZeroU32::new(self.count(1)?).ok_or_else(|| self.wrong("a number of tokens from 1"))
    }

    fn share(&self) -> Result<f64, SimConfigError> {
        let share = self.value.parse().ok();
        share
            .filter(|share| (0.0..=1.0).contains(share))
            .ok_or_else(|| self.wrong("a share from 0 to 1"))
    }

    fn status(&self) -> Result<u16, SimConfigError> {
        let status = self.value.parse().ok();
        status
            .filter(|status| (400..=599).contains(status))
            .ok_or_else(|| self.wrong("an HTTP status from 400 to 599"))
    }

    fn seed(&self) -> Result<u64, SimConfigError> {
        self.value
            .parse()
            .map_err(|_invalid| self.wrong("a whole number from 0"))
    }

    fn switch(&self) -> Result<bool, SimConfigError> {
        match self.value {
            "true" | "1" | "" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(self.wrong("true or false")),
        }
    }

    fn jitter(&self) -> Result<Jitter, SimConfigError> {
        match self.value {
            "none" => Ok(Jitter::None),
            "normal" => Ok(Jitter::Normal),
            "lognormal" => Ok(Jitter::Lognormal),
            _ => Err(self.wrong("none, normal or lognormal")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: impl FnOnce(&mut SimConfig)) {
        let parsed = SimConfig::parse(name).unwrap();
        let mode = SimMode::parse(name.split('?').next().unwrap()).unwrap();
        let mut config = SimConfig::new(mode);
        config.name = name.into();
        expected(&mut config);
        assert_eq!(parsed, config, "{name}");
    }

    fn check_refused(name: &str, part: &str) {
        let error = SimConfig::parse(name).unwrap_err().to_string();
        assert!(error.contains(part), "{name}: {error}");
    }

    #[test]
    fn names_carry_mode_and_knobs() {
        check("demo", |_| {});
        check("echo?", |_| {});
        check("lorem?tokens=200&ttftMs=300&tps=50", |config| {
            config.tokens = 200;
            config.ttft = Duration::from_millis(300);
            config.inter_token = Duration::from_millis(20);
        });
        check("lorem?interTokenMs=0.5&jitter=lognormal&seed=7", |config| {
            config.inter_token = Duration::from_micros(500);
            config.jitter = Jitter::Lognormal;
            config.seed = 7;
        });
        check(
            "echo?chunkTokens=4&yield&failRate=0.25&failStatus=429",
            |config| {
                config.chunk_tokens = NonZeroU32::new(4).unwrap();
                config.yields = true;
                config.fail_rate = 0.25;
                config.fail_status = 429;
            },
        );
        check(
            "echo?stallAfterTokens=0&disconnectAfterTokens=3",
            |config| {
                config.stall_after_tokens = Some(0);
                config.disconnect_after_tokens = Some(3);
            },
        );
        check("script?file=a%20b.json5", |config| {
            config.script_file = Some("a b.json5".into());
        });
    }

    #[test]
    fn what_means_nothing_is_refused_by_name() {
        check_refused("", "no mode \"\"");
        check_refused("Echo", "no mode \"Echo\"");
        check_refused("echo?speed=3", "no knob \"speed\"");
        check_refused("echo?tps=0", "tps cannot be \"0\"");
        check_refused("echo?tps=-1", "tps cannot be \"-1\"");
        check_refused("echo?tps=NaN", "tps cannot be");
        check_refused("echo?ttftMs=3600001", "at most an hour");
        check_refused("echo?ttftMs=-1", "milliseconds");
        check_refused("lorem?tokens=1000001", "at most 1000000");
        check_refused("echo?chunkTokens=0", "number of tokens");
        check_refused("echo?failRate=1.5", "from 0 to 1");
        check_refused("echo?failStatus=200", "400 to 599");
        check_refused("echo?jitter=wild", "lognormal");
        check_refused("echo?yield=maybe", "true or false");
        check_refused("echo?seed=-1", "whole number");
        assert_eq!(
            SimConfig::parse(&"e".repeat(513)),
            Err(SimConfigError::TooLong)
        );
    }
}
