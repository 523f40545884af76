//! One line of comma-separated values, as Go's `encoding/csv` reads it.

/// The fields of `line`; a field in double quotes may hold commas and doubled quotes.
///
/// # Errors
/// Go's texts for quotes in the wrong place; `EOF` for nothing at all.
pub fn fields(line: &str) -> Result<Vec<String>, String> {
    if line.is_empty() {
        return Err("EOF".into());
    }
    let mut out = Vec::new();
    let mut rest = line;
    loop {
        let column = line.len() - rest.len() + 1;
        if let Some(mut quoted) = rest.strip_prefix('"') {
            let mut field = String::new();
            loop {
                let Some(end) = quoted.find('"') else {
                    let column = line.len() + 1;
                    return Err(format!(
                        "parse error on line 1, column {column}: extraneous or missing \" in quoted-field"
                    ));
                };
                field.push_str(&quoted[..end]);
                quoted = &quoted[end + 1..];
                match quoted.strip_prefix('"') {
                    Some(more) => {
                        field.push('"');
                        quoted = more;
                    }
                    None => break,
                }
            }
            out.push(field);
            match quoted.strip_prefix(',') {
                Some(more) => rest = more,
                None if quoted.is_empty() => return Ok(out),
                None => {
                    let column = line.len() - quoted.len();
                    return Err(format!(
                        "parse error on line 1, column {column}: extraneous or missing \" in quoted-field"
                    ));
                }
            }
        } else {
            let (field, more) = match rest.split_once(',') {
                Some((field, more)) => (field, Some(more)),
                None => (rest, None),
            };
            if let Some(at) = field.find('"') {
                let column = column + at;
                return Err(format!(
                    "parse error on line 1, column {column}: bare \" in non-quoted-field"
                ));
            }
            out.push(field.to_string());
            match more {
                Some(more) => rest = more,
                None => return Ok(out),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_commas() {
        assert_eq!(fields("a,\"b,\"\"c\",d,").unwrap(), ["a", "b,\"c", "d", ""]);
        assert_eq!(fields("").unwrap_err(), "EOF");
        assert!(fields("a\"b").unwrap_err().contains("column 2: bare"));
        assert!(fields("\"a").unwrap_err().contains("extraneous or missing"));
        assert!(fields("\"a\"b").unwrap_err().contains("extraneous or missing"));
    }
}
