//! What a container finds when nothing special is asked for.

use crate::bundle::Bundle;

#[test]
fn output_and_exit_code_come_back() {
    let bundle = Bundle::new();
    assert_eq!(bundle.sh("echo hello; echo err >&2; exit 7"), (7, "hello\nerr\n".into()));
}
