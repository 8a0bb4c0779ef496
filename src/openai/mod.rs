//! The OpenAI chat-completions dialect, without any I/O.
