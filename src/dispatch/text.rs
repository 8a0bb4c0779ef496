//! Text hygiene of messages (`protocol-facts` §6.5).

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::error::DispatchError;

/// The message in Unicode NFC without control characters other than tab and line ends.
///
/// # Errors
/// [`DispatchError::NullByte`].
pub(super) fn clean(message: &str) -> Result<String, DispatchError> {
    if message.contains('\0') {
        return Err(DispatchError::NullByte);
    }
    let keep = |c: &char| !c.is_control() || matches!(c, '\t' | '\n' | '\r');
    if is_nfc_quick(message.chars()) == IsNormalized::Yes {
        return Ok(message.chars().filter(keep).collect());
    }
    Ok(message.nfc().filter(keep).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_composed_and_lose_control_characters() {
        assert_eq!(clean("e\u{301}\u{7}\tx\r\n").unwrap(), "é\tx\r\n");
        assert_eq!(clean("plain").unwrap(), "plain");
        assert!(matches!(clean("a\0b"), Err(DispatchError::NullByte)));
    }
}
