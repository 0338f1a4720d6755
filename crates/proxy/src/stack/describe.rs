//! The order of the layers for people: read from the very code that states it, so that the two cannot differ.

/// The layers that each call goes through, one a line, with the reason of their order; the edge first, then what belongs
/// to one backend.
pub fn describe_stack() -> String {
    let mut text = String::from("Each call, from the client's side inwards:\n");
    lines(include_str!("edge.rs"), &mut text);
    text.push_str("and on the way to its backend:\n");
    lines(include_str!("backend.rs"), &mut text);
    text
}

/// Lines of the builder: `.layer(RefusalsLayer) // why it stands here`.
fn lines(code: &str, text: &mut String) {
    for line in code.lines().map(str::trim) {
        let layer = [".layer(", ".option_layer("]
            .iter()
            .find_map(|call| line.strip_prefix(call));
        let Some(layer) = layer else { continue };
        let (layer, reason) = layer.split_once(" // ").unwrap_or((layer, ""));
        let name = layer
            .split(|char: char| !char.is_alphanumeric())
            .next()
            .unwrap_or(layer);
        let name = name.trim_end_matches("Layer").to_lowercase();
        text.push_str(format!("  {name:<10} {reason}").trim_end());
        text.push('\n');
    }
}
