//! The language of Dockerfiles, from text to changes of an image's configuration.
//!
//! ```text
//!   text --lines::split--> Line --Instruction::parse--> Instruction --Changes::apply--> Config
//! ```
//!
//! [`lines`] knows comments, directives and continuation; [`words`] the forms that arguments have;
//! [`expand`] variables and quotes; [`instruction`] what each instruction takes; [`change`] what those do
//! that change nothing but the configuration, which is all that `docker commit --change` may ask for.
//!
//! Spec: Dockerfile reference; moby `builder/dockerfile` and buildkit `frontend/dockerfile/parser`,
//! `instructions` and `shell` (behaviour and error texts).

pub mod change;
pub mod expand;
pub mod instruction;
pub mod lines;
pub mod words;

pub use change::apply_changes;
