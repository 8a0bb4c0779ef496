//! Tests of the reader: tables, and texts nobody wrote.

#![allow(
    clippy::unwrap_used,
    clippy::string_slice,
    clippy::needless_pass_by_value,
    reason = "tests may panic, and tables read better with values"
)]

use proptest::prelude::*;
use serde_json::json;

use super::super::source::Sources;
use super::*;

fn read(text: &str) -> Parsed {
    let file = Sources::default().add("test.json5", "");
    parse(text, file)
}

fn check(text: &str, expected: serde_json::Value) {
    let parsed = read(text);
    assert_eq!(parsed.errors, [], "{text:?}");
    assert_eq!(parsed.value.unwrap().to_json(), expected, "{text:?}");
}

/// Checks messages with the text they point at, and what was read in spite of them.
fn check_errors(text: &str, expected: &[(&str, &str)], rest: serde_json::Value) {
    let parsed = read(text);
    let found: Vec<_> = parsed
        .errors
        .iter()
        .map(|located| {
            let span = located.span;
            (located.error.to_string(), &text[span.start..span.end])
        })
        .collect();
    let found: Vec<_> = found.iter().map(|(m, at)| (m.as_str(), *at)).collect();
    assert_eq!(found, expected, "{text:?}");
    let value = parsed.value.map(|value| value.to_json());
    assert_eq!(value.unwrap_or_default(), rest, "{text:?}");
}

#[test]
fn everything_json5_adds_to_json_is_read() {
    check("{}", json!({}));
    check(" [1, 2,] ", json!([1, 2]));
    check(
        "{a: 1, 'b-c': 2, \"d\": 3, $e_1: 4, ü: 5,}",
        json!({"a": 1, "b-c": 2, "d": 3, "$e_1": 4, "ü": 5}),
    );
    check("// c\n{ /* c\n* / */ a: 1 // d\n}", json!({"a": 1}));
    check("\u{feff}{a:\u{a0}1}\u{2028}", json!({"a": 1}));
    check("{\\u0061b: 1}", json!({"ab": 1}));
    check(
        "{true: 1, null: 2, Infinity: 3}",
        json!({"true": 1, "null": 2, "Infinity": 3}),
    );
    check("[true, false, null]", json!([true, false, null]));
}

#[test]
fn numbers_keep_whole_values_whole() {
    check(
        "[0, -1, +2, 0x1F, -0xa, 0XFF]",
        json!([0, -1, 2, 31, -10, 255]),
    );
    check(
        "[.5, 5., 1e3, 1E-2, -.5e+1]",
        json!([0.5, 5.0, 1000.0, 0.01, -5.0]),
    );
    check("18446744073709551615", json!(u64::MAX));
    check("-9223372036854775808", json!(i64::MIN));
    check("18446744073709551616", json!(18_446_744_073_709_551_616.0));
    check("-0", json!(-0.0));
}

#[test]
fn strings_resolve_escapes_and_continued_lines() {
    check(r#""a\"b\'c\\d\/e""#, json!("a\"b'c\\d/e"));
    check(r"'it\'s \x41\u00e4\q'", json!("it's Aäq"));
    check(r"'\b\f\n\r\t\v\0'", json!("\u{8}\u{c}\n\r\t\u{b}\0"));
    check("'one \\\ntwo \\\r\nthree'", json!("one two three"));
    check(r"'\ud83d\ude00'", json!("😀"));
    check("'a\u{2028}b'", json!("a\u{2028}b"));
    check("''", json!(""));
}

#[test]
fn numbers_that_are_none_are_refused_and_the_rest_is_read() {
    let not = |text: &'static str| (format!("`{text}` is not a number"), text);
    for text in [
        "01", "1.2.3", "0x", "0xg", "1e", "1e+", "-", ".", "1-2", "5px",
    ] {
        let (message, at) = not(text);
        check_errors(&format!("[{text}, 1]"), &[(&message, at)], json!([1]));
    }
    for text in [
        "Infinity",
        "-Infinity",
        "NaN",
        "+NaN",
        "1e999",
        "0x1ffffffffffffffff",
    ] {
        let message = format!("`{text}` is not a finite number");
        check_errors(&format!("[{text}, 1]"), &[(&message, text)], json!([1]));
    }
}

#[test]
fn several_errors_are_reported_in_one_reading() {
    check_errors(
        "{a: tru, b: 2 c: 3, d 4, e: [1 2], f: 0x, g: 'x}\nh: 7}",
        &[
            ("unknown word `tru`; a string needs quotes", "tru"),
            ("expected `,` or `}`, found `c`", "c"),
            ("expected `:` after the key, found `4`", "4"),
            ("expected `,` or `]`, found `2`", "2"),
            ("`0x` is not a number", "0x"),
            ("the string is not closed", "'x}"),
        ],
        json!({"b": 2, "c": 3, "e": [1, 2], "g": "x}", "h": 7}),
    );
}

#[test]
fn what_is_not_closed_is_named_once_where_it_opens() {
    check_errors(
        "{a: [1, {b: 2",
        &[("the object is not closed", "{")],
        json!({"a": [1, {"b": 2}]}),
    );
    check_errors(
        "[1, [2",
        &[("the list is not closed", "[")],
        json!([1, [2]]),
    );
    check_errors(
        "{a: /* x",
        &[("the comment is not closed", "/* x")],
        json!({}),
    );
    check_errors("{a:", &[("the object is not closed", "{")], json!({}));
    check_errors(
        "{a: 'b",
        &[("the string is not closed", "'b")],
        json!({"a": "b"}),
    );
}

#[test]
fn wrong_brackets_and_stray_text_are_reported() {
    check_errors(
        "",
        &[("expected a value, found the end of the file", "")],
        json!(null),
    );
    check_errors(
        "// only a comment",
        &[("expected a value, found the end of the file", "")],
        json!(null),
    );
    check_errors(
        "{} {}",
        &[("unexpected text after the end of the value", "{")],
        json!({}),
    );
    check_errors(
        "{a: 1]}",
        &[("expected `,` or `}`, found `]`", "]")],
        json!({"a": 1}),
    );
    check_errors(
        "[1}, 2]",
        &[("expected `,` or `]`, found `}`", "}")],
        json!([1, 2]),
    );
    check_errors("{,}", &[("expected a key, found `,`", ",")], json!({}));
    check_errors("[,1]", &[("expected a value, found `,`", ",")], json!([1]));
    check_errors("{a: }", &[("expected a value, found `}`", "}")], json!({}));
    check_errors(
        "{1: 2, b: 3}",
        &[("expected a key, found `1`", "1")],
        json!({"b": 3}),
    );
}

#[test]
fn bad_escapes_are_reported_and_the_string_goes_on() {
    check_errors(
        r"['\1', 1]",
        &[("unknown escape sequence", r"\1")],
        json!(["\u{fffd}", 1]),
    );
    check_errors(
        r"['\01']",
        &[("unknown escape sequence", r"\0")],
        json!(["\u{fffd}1"]),
    );
    check_errors(
        r"['\xZZ']",
        &[("unknown escape sequence", r"\x")],
        json!(["\u{fffd}ZZ"]),
    );
    check_errors(
        r"['\ud83d!']",
        &[("half of a surrogate pair", r"\ud83d")],
        json!(["\u{fffd}!"]),
    );
    check_errors(
        r"{\x: 1}",
        &[("unknown escape sequence", r"\")],
        json!({"\u{fffd}x": 1}),
    );
}

#[test]
fn a_key_that_stands_twice_is_reported_with_its_first_place() {
    let text = "{a: 1, b: {a: 2}, 'a': 3}";
    check_errors(
        text,
        &[("the key `a` stands twice", "'a'")],
        json!({"a": 1, "b": {"a": 2}}),
    );
    let related = read(text).errors[0].related.unwrap();
    assert_eq!(related.start, 1);
}

#[test]
fn positions_cover_keys_and_values() {
    let text = "{\n  port: 99,\n  'x': [1, 'two']\n}";
    let value = read(text).value.unwrap();
    let at = |span: Span| &text[span.start..span.end];
    let port = value.member("port").unwrap();
    assert_eq!((at(port.key_span), at(port.value.span)), ("port", "99"));
    let x = value.member("x").unwrap();
    assert_eq!((at(x.key_span), at(x.value.span)), ("'x'", "[1, 'two']"));
}

#[test]
fn size_and_nesting_are_bounded() {
    let text = format!("'{}'", "x".repeat(BYTES_MAX));
    check_errors(
        &text,
        &[("the file is larger than 1048576 bytes", "'")],
        json!(null),
    );
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(read(&nested(NESTING_MAX)).errors, []);
    let over = read(&format!("[{}, 1]", nested(NESTING_MAX)));
    assert_eq!(over.errors.len(), 1);
    assert_eq!(over.errors[0].error, SyntaxError::TooDeep);
    // What is too deep is skipped without recursion, however deep it is.
    assert_eq!(
        read(&"[".repeat(BYTES_MAX)).errors[0].error,
        SyntaxError::TooDeep
    );
}

#[test]
fn errors_are_bounded() {
    let parsed = read(&format!("[{}]", "!,".repeat(1000)));
    assert_eq!(parsed.errors.len(), ERRORS_MAX);
    assert_eq!(parsed.errors[ERRORS_MAX - 1].error, SyntaxError::TooMany);
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        any::<u64>().prop_map(|n| json!(n)),
        any::<i64>().prop_map(|n| json!(n)),
        ".*".prop_map(|s| json!(s)),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|items| json!(items)),
            prop::collection::hash_map(".*", inner, 0..6).prop_map(|members| json!(members)),
        ]
    })
}

proptest! {
    #[test]
    fn json_reads_as_serde_json_reads_it(value in any_json(), pretty in any::<bool>()) {
        let text = if pretty {
            serde_json::to_string_pretty(&value).unwrap()
        } else {
            serde_json::to_string(&value).unwrap()
        };
        let parsed = read(&text);
        prop_assert_eq!(&parsed.errors, &[]);
        prop_assert_eq!(parsed.value.unwrap().to_json(), value);
    }

    #[test]
    fn fractions_read_as_rust_reads_them(value in any::<f64>().prop_filter("finite", |f| f.is_finite())) {
        let parsed = read(&format!("{value:e}"));
        let Some(Kind::Number(number)) = parsed.value.map(|value| value.kind) else {
            return Err(TestCaseError::fail("no number"));
        };
        prop_assert_eq!(number.as_f64().unwrap().to_bits(), value.to_bits());
    }

    /// Text made of what the grammar is made of reaches far more states than any text.
    #[test]
    fn no_text_makes_the_reader_panic_or_point_outside(
        parts in prop::collection::vec(
            prop_oneof![
                Just("{"), Just("}"), Just("["), Just("]"), Just(":"), Just(","), Just("'"),
                Just("\""), Just("\\"), Just("\\u12"), Just("\\ud83d"), Just("\\\n"), Just("\n"),
                Just("//"), Just("/*"), Just("*/"), Just("/"), Just("a"), Just("é"), Just("-"),
                Just("0x"), Just("1"), Just("."), Just("e"), Just(" "), Just("\u{2028}"),
                Just("true"), Just("😀"), Just("!"),
            ],
            0..60,
        )
    ) {
        let text = parts.concat();
        let parsed = read(&text);
        for located in &parsed.errors {
            let span = located.span;
            prop_assert!(text.get(span.start..span.end).is_some(), "{text:?} {located:?}");
        }
        prop_assert!(parsed.value.is_some() || !parsed.errors.is_empty());
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) {
            prop_assert_eq!(parsed.value.unwrap().to_json(), value);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(text in "\\PC*") {
        let parsed = read(&text);
        prop_assert!(parsed.value.is_some() || !parsed.errors.is_empty());
    }
}
