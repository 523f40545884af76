//! Control groups: limits, accounting, freezing and killing of all processes of a container.

pub mod resources;
