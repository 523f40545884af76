//! The `--format` that most commands with one take, word for word.

/// Gives a struct of flags the field `format`: a template, `json`, or nothing.
macro_rules! with_format {
    ($(#[$attribute:meta])* $visible:vis struct $name:ident { $($fields:tt)* }) => {
        $(#[$attribute])*
        $visible struct $name {
            #[argh(
                option,
                short = 'f',
                arg_name = "string",
                default = "String::new()",
                description = "format output using a custom template:\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates"
            )]
            format: String,
            $($fields)*
        }
    };
}

pub(super) use with_format;
