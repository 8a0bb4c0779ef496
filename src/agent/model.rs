//! An agent in front of an OpenAI-compatible model server.
