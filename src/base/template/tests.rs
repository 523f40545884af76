//! Templates against what Go's `text/template` makes of them.

use super::*;

fn run(template: &str, json: &str) -> String {
    let data = Value::parse(json.as_bytes()).unwrap();
    let mut out = String::new();
    match Template::parse(template).and_then(|t| t.execute(&data, &mut out)) {
        Ok(()) => out,
        Err(e) => e.to_string().replace("template parsing error: ", ""),
    }
}

const DATA: &str = r#"{"Name":"/web","State":{"Pid":12,"Running":true,"Err":""},
    "Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}],"443/tcp":null},
    "Args":["a","b","c"],"Labels":{"x.y":"z"},"N":null}"#;

#[test]
fn templates_give_what_go_gives() {
    for (template, want) in [
        ("plain", "plain"),
        ("{{.Name}}", "/web"),
        ("{{ .State.Pid }}:{{.State.Running}}", "12:true"),
        ("{{.Missing}}", "<no value>"),
        ("{{.N}}", "<nil>"),
        ("{{.State}}", "map[Err: Pid:12 Running:true]"),
        ("{{.Args}}", "[a b c]"),
        ("{{json .Args}}", r#"["a","b","c"]"#),
        ("{{.State | json}}", r#"{"Pid":12,"Running":true,"Err":""}"#),
        ("{{range .Args}}<{{.}}>{{end}}", "<a><b><c>"),
        ("{{range $i, $a := .Args}}{{$i}}={{$a}} {{end}}", "0=a 1=b 2=c "),
        ("{{range $k, $v := .Ports}}{{$k}} {{end}}", "443/tcp 80/tcp "),
        ("{{range .N}}x{{else}}none{{end}}", "none"),
        ("{{range .Args}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}", "a"),
        ("{{range .Args}}{{if eq . \"b\"}}{{continue}}{{end}}{{.}}{{end}}", "ac"),
        ("{{if .State.Err}}bad{{else if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{with .State}}{{.Pid}}{{end}}", "12"),
        ("{{with .N}}x{{else}}y{{end}}", "y"),
        ("{{with $x := .State.Pid}}{{$x}}{{end}}", "12"),
        ("{{$x := 1}}{{$x = 2}}{{$x}}", "2"),
        ("{{index .Labels \"x.y\"}}", "z"),
        ("{{index .Args 1}}", "b"),
        ("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080"),
        ("{{index .Labels \"no\"}}", ""),
        ("{{len .Args}} {{len .Name}}", "3 4"),
        ("{{slice .Name 1}}", "web"),
        ("{{slice .Args 1 2}}", "[b]"),
        (
            "{{printf \"%s-%05d-%q-%v\" .Name .State.Pid .Name .Args}}",
            "/web-00012-\"/web\"-[a b c]",
        ),
        ("{{printf \"%-6s|%6s|%.2s\" \"ab\" \"cd\" \"xyz\"}}", "ab    |    cd|xy"),
        ("{{printf \"%d\"}} {{printf \"x\" 1}}", "%!d(MISSING) x%!(EXTRA int=1)"),
        ("{{println \"a\" 1}}", "a 1\n"),
        ("{{print 1 2 \"x\"}}", "1 2x"),
        ("{{join .Args \",\"}} {{split \"a:b\" \":\"}}", "a,b,c [a b]"),
        ("{{upper .Name}} {{title \"hello world\"}} {{lower \"AB\"}}", "/WEB Hello World ab"),
        ("{{pad \"x\" 1 2}}| {{truncate \"abcdef\" 3}}", " x  | abc"),
        ("a {{- \" b \" -}} c", "a b c"),
        ("a{{/* note */}}b {{- /* trim */ -}} c", "abc"),
        ("{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .Name}}", "</web>"),
        ("{{block \"b\" .Name}}[{{.}}]{{end}}", "[/web]"),
        ("{{and .Name \"x\"}} {{or .State.Err \"y\"}} {{not true}}", "x y false"),
        ("{{if and (gt .State.Pid 1) (le .State.Pid 12)}}in{{end}}", "in"),
        ("{{eq .State.Pid 1 12}} {{ne 1 2}} {{lt \"a\" \"b\"}}", "true true true"),
        ("{{`raw\\n`}} {{\"esc\\t\\u00e9\"}} {{'a'}} {{0x10}}", "raw\\n esc\té 97 16"),
        ("{{html \"<a&b>\"}} {{urlquery \"a b&\"}}", "&lt;a&amp;b&gt; a+b%26"),
        ("{{$.Name}}{{with .State}}{{$.Name}}{{end}}", "/web/web"),
        ("{{.Name | printf \"%s!\" | upper}}", "/WEB!"),
    ] {
        assert_eq!(run(template, DATA), want, "{template}");
    }
}

#[test]
fn errors_are_gos() {
    for (template, want) in [
        ("{{foo}}", "template: :1: function \"foo\" not defined"),
        ("{{", "template: :1: unclosed action"),
        ("{{.Name", "template: :1: unclosed action"),
        ("{{if}}x{{end}}", "template: :1: missing value for if"),
        ("{{}}", "template: :1: missing value for command"),
        ("{{if .Name}}x", "template: :1: unexpected EOF"),
        ("\n{{end}}", "template: :2: unexpected {{end}}"),
        ("{{else}}", "template: :1: unexpected {{else}}"),
        ("{{\"abc}}", "template: :1: unterminated quoted string"),
        ("{{.Name}", "template: :1: bad character U+007D '}'"),
        ("{{$x}}", "template: :1: undefined variable \"$x\""),
        ("{{(.Name}}", "template: :1: unclosed left paren"),
        ("{{.Name)}}", "template: :1: unexpected right paren"),
        ("{{1 | 2}}", "template: :1: non executable command in pipeline stage 2"),
        ("{{.a.}}", "template: :1: unexpected <.> in operand"),
        ("{{# }}", "template: :1: unexpected \"#\" in command"),
        ("{{0xzz}}", "template: :1: bad number syntax: \"0xz\""),
        ("{{template}}", "template: :1: unexpected \"}}\" in template clause"),
        ("{{if if}}", "template: :1: unexpected <if> in if"),
        ("{{/* x }}", "template: :1: unclosed comment"),
        ("{{if .x}}{{else}}{{else}}{{end}}", "template: :1: expected end; found {{else}}"),
        ("{{break}}", "template: :1: {{break}} outside {{range}}"),
        (
            "{{.Name.Foo}}",
            "template: :1:7: executing \"\" at <.Name.Foo>: can't evaluate field Foo in type string",
        ),
        (
            "{{index .Args 9}}",
            "template: :1:2: executing \"\" at <index .Args 9>: error calling index: index out of range: 9",
        ),
        (
            "x\n  {{len .State.Pid}}",
            "template: :2:4: executing \"\" at <len .State.Pid>: error calling len: len of type int",
        ),
        (
            "{{template \"t\"}}",
            "template: :1:11: executing \"\" at <{{template \"t\"}}>: template \"t\" not defined",
        ),
        (
            "{{lt 1 \"x\"}}",
            "template: :1:2: executing \"\" at <lt 1 \"x\">: error calling lt: incompatible types for comparison",
        ),
        ("{{upper 3}}", "template: :1:8: executing \"\" at <3>: expected string; found 3"),
        (
            "{{upper (len \"x\")}}",
            "template: :1:13: executing \"\" at <\"x\">: wrong type for value; expected string; got int",
        ),
        (
            "{{(index .Args 0).Foo}}",
            "template: :1:15: executing \"\" at <0>: can't evaluate field Foo in type string",
        ),
        ("{{nil}}", "template: :1:2: executing \"\" at <nil>: nil is not a command"),
        (
            "{{upper}}",
            "template: :1:2: executing \"\" at <upper>: wrong number of args for upper: want 1 got 0",
        ),
        (
            "{{range .Name}}{{end}}",
            "template: :1:8: executing \"\" at <.Name>: range can't iterate over /web",
        ),
    ] {
        assert_eq!(run(template, DATA), want, "{template}");
    }
}

#[test]
fn missing_keys_can_be_errors() {
    let data = Value::parse(b"{}").unwrap();
    let template = Template::parse("{{.Foo}}").unwrap().missing_key(MissingKey::Fails);
    let error = template.execute(&data, &mut String::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\""
    );
}

#[test]
fn structs_refuse_unknown_fields_and_call_methods() {
    let mut row = Object::typed("*formatter.ContainerContext");
    row.push("ID", "abc");
    row.push_hidden("Secret", "s");
    let label: Method = std::rc::Rc::new(|args| Ok(Value::from(args[0].print() + "!")));
    row.push("Label", Value::Method(label));
    let data = Value::Object(row);
    let run = |text: &str| {
        let mut out = String::new();
        match Template::parse(text).unwrap().execute(&data, &mut out) {
            Ok(()) => out,
            Err(e) => e.to_string(),
        }
    };
    assert_eq!(run("{{.Label \"x\"}} {{.Secret}} {{json .}}"), "x! s {\"ID\":\"abc\"}");
    assert_eq!(
        run("{{.Foo}}"),
        "template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *formatter.ContainerContext"
    );
}

#[test]
fn endless_recursion_is_an_error() {
    let text = "{{define \"a\"}}{{template \"a\"}}{{end}}{{template \"a\"}}";
    assert!(run(text, "{}").contains("exceeded maximum template depth"));
}

#[test]
fn mentions_whole_names_only() {
    let template = Template::parse("{{.Sizes}} {{.Sizex.A}}").unwrap();
    assert!(!template.mentions("Size"));
    assert!(template.mentions("Sizes"));
    assert!(Template::parse("{{json .}}").unwrap().mentions("Size"));
    assert!(!Template::parse("{{json .ID}}").unwrap().mentions("Size"));
}
