//! Go's `fmt` verbs as far as templates meet them.
//!
//! Spec: Go package `fmt`, "Printing".

use super::Value;

/// `fmt.Sprint`: spaces only between operands of which neither is text.
pub(super) fn sprint(args: &[Value]) -> String {
    let mut out = String::new();
    for (i, arg) in args.iter().enumerate() {
        let text = |v: &Value| matches!(v, Value::Str(_));
        if i > 0 && !text(arg) && !text(&args[i - 1]) {
            out.push(' ');
        }
        out.push_str(&arg.print());
    }
    out
}

/// `fmt.Sprintln`.
pub(super) fn sprintln(args: &[Value]) -> String {
    let parts: Vec<String> = args.iter().map(Value::print).collect();
    parts.join(" ") + "\n"
}

#[derive(Default)]
struct Spec {
    minus: bool,
    plus: bool,
    zero: bool,
    sharp: bool,
    space: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `fmt.Sprintf`.
pub(super) fn sprintf(format: &str, args: &[Value]) -> String {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut used = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.peek().copied().filter(|c| "-+0# ".contains(*c)) {
            chars.next();
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '0' => spec.zero = true,
                '#' => spec.sharp = true,
                _ => spec.space = true,
            }
        }
        spec.width = count(&mut chars, args, &mut used);
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(count(&mut chars, args, &mut used).unwrap_or(0));
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => {
                match args.get(used) {
                    None => out.push_str(&format!("%!{verb}(MISSING)")),
                    Some(arg) => out.push_str(&pad(&spec, verb_text(&spec, verb, arg), arg)),
                }
                used += 1;
            }
        }
    }
    if used < args.len() {
        let extra: Vec<String> =
            args[used..].iter().map(|a| format!("{}={}", a.type_name(), a.print())).collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

/// Widest field and longest precision: templates come from users, not from friends.
const MAX_WIDTH: usize = 4096;

/// A width or precision: digits, or `*` for the next argument.
fn count(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    args: &[Value],
    used: &mut usize,
) -> Option<usize> {
    if chars.next_if_eq(&'*').is_some() {
        *used += 1;
        return match args.get(*used - 1) {
            Some(Value::Int(n)) => usize::try_from(*n).ok().map(|n| n.min(MAX_WIDTH)),
            _ => None,
        };
    }
    let mut n = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        n = Some((n.unwrap_or(0) * 10 + digit as usize).min(MAX_WIDTH));
    }
    n
}

fn verb_text(spec: &Spec, verb: char, arg: &Value) -> String {
    let bad = || format!("%!{verb}({}={})", arg.type_name(), arg.print());
    match (verb, arg) {
        ('v', Value::Str(s)) if spec.sharp => super::go_quote(s),
        ('v', Value::Float(n)) if spec.precision.is_some() => exact(spec, *n),
        ('v', v) => v.print(),
        ('T', v) => v.type_name().to_string(),
        ('s', Value::Str(s)) => cut(spec, s),
        ('q', Value::Str(s)) => super::go_quote(&cut(spec, s)),
        ('x', Value::Str(s)) => s.bytes().map(|b| format!("{b:02x}")).collect(),
        ('X', Value::Str(s)) => s.bytes().map(|b| format!("{b:02X}")).collect(),
        ('s' | 'q' | 'd', Value::List(items)) => {
            let parts: Vec<String> = items.iter().map(|i| verb_text(spec, verb, i)).collect();
            format!("[{}]", parts.join(" "))
        }
        ('s' | 'd' | 'q', Value::Object(o)) => {
            let parts: Vec<String> = o
                .sorted()
                .into_iter()
                .map(|f| {
                    let key = verb_text(spec, verb, &Value::from(f.name.as_str()));
                    format!("{key}:{}", verb_text(spec, verb, &f.value))
                })
                .collect();
            format!("map[{}]", parts.join(" "))
        }
        ('t', Value::Bool(b)) => b.to_string(),
        ('d', Value::Int(n)) => signed(spec, *n, n.unsigned_abs().to_string()),
        ('x', Value::Int(n)) => {
            signed(spec, *n, prefix(spec, "0x", format!("{:x}", n.unsigned_abs())))
        }
        ('X', Value::Int(n)) => {
            signed(spec, *n, prefix(spec, "0X", format!("{:X}", n.unsigned_abs())))
        }
        ('o', Value::Int(n)) => {
            signed(spec, *n, prefix(spec, "0", format!("{:o}", n.unsigned_abs())))
        }
        ('b', Value::Int(n)) => signed(spec, *n, format!("{:b}", n.unsigned_abs())),
        ('c', Value::Int(n)) => {
            u32::try_from(*n).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string()
        }
        ('f' | 'F', Value::Float(n)) => {
            let text = format!("{:.*}", spec.precision.unwrap_or(6), n);
            if spec.plus && *n >= 0.0 { format!("+{text}") } else { text }
        }
        ('g', Value::Float(n)) => exact(spec, *n),
        _ => bad(),
    }
}

fn exact(spec: &Spec, n: f64) -> String {
    match spec.precision {
        None => Value::Float(n).print(),
        Some(digits) => {
            let digits = digits.max(1);
            let whole = if n == 0.0 { 1 } else { n.abs().log10().floor() as i64 + 1 };
            let text = format!("{n:.*}", usize::try_from(digits as i64 - whole).unwrap_or(0));
            if text.contains('.') {
                text.trim_end_matches('0').trim_end_matches('.').to_string()
            } else {
                text
            }
        }
    }
}

fn cut(spec: &Spec, text: &str) -> String {
    match spec.precision {
        Some(n) => text.chars().take(n).collect(),
        None => text.to_string(),
    }
}

fn prefix(spec: &Spec, prefix: &str, digits: String) -> String {
    if spec.sharp { format!("{prefix}{digits}") } else { digits }
}

fn signed(spec: &Spec, n: i128, digits: String) -> String {
    match n {
        n if n < 0 => format!("-{digits}"),
        _ if spec.plus => format!("+{digits}"),
        _ if spec.space => format!(" {digits}"),
        _ => digits,
    }
}

fn pad(spec: &Spec, text: String, arg: &Value) -> String {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    if missing == 0 {
        return text;
    }
    if spec.minus {
        return text + &" ".repeat(missing);
    }
    let number = matches!(arg, Value::Int(_) | Value::Float(_));
    if spec.zero && number {
        return match text.strip_prefix(['-', '+']) {
            Some(digits) => format!("{}{}{digits}", &text[..1], "0".repeat(missing)),
            None => "0".repeat(missing) + &text,
        };
    }
    " ".repeat(missing) + &text
}
