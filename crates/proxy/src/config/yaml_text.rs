//! YAML into a tree with places, from the parser's events: so depth and aliases are bounded before anything is built, and
//! a key that stands twice is refused.

use std::collections::HashMap;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::document::{Data, Key, MAX_DEPTH, Node};
use super::slip::Slip;

/// Most values that aliases may stand for. Without a bound a few nested ones would fill the memory.
const MAX_ALIASED: usize = 10_000;

/// Reads a document.
///
/// # Errors
/// Where the text is not YAML.
pub(crate) fn read(text: &str) -> Result<Node, Vec<Slip>> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        bytes: byte_offsets(text),
        anchors: HashMap::new(),
        aliased: 0,
    };
    reader.document(text.len()).map_err(|slip| vec![slip])
}

struct Reader<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    /// The byte offset of each character; the parser counts characters.
    bytes: Vec<usize>,
    anchors: HashMap<usize, Node>,
    aliased: usize,
}

impl<'t> Reader<'t> {
    fn document(&mut self, end: usize) -> Result<Node, Slip> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
                Event::StreamEnd => {
                    let data = Data::Table(Vec::new());
                    return Ok(Node { data, span: 0..end });
                }
                event => {
                    let root = self.node(event, span, 0)?;
                    return self.end(root);
                }
            }
        }
    }

    /// Reads to the end of the stream, which must hold no second document.
    fn end(&mut self, root: Node) -> Result<Node, Slip> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(_) => {
                    let message = "a second document begins here";
                    return Err(Slip::new(
                        self.span(span),
                        message,
                        "keep the configuration in one document",
                    ));
                }
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Slip> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let at = self.offset(error.marker().index());
                Err(Slip::new(
                    at..at,
                    error.info(),
                    "check indentation and brackets; quote text that begins with a special character",
                ))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Slip> {
        let start = self.span(span);
        if depth > MAX_DEPTH {
            return Err(Slip::too_deep(start));
        }
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let data = if plain {
                    scalar(&text)
                } else {
                    Data::Text(text.into_owned())
                };
                (Node { data, span: start }, anchor)
            }
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                let end = loop {
                    let (event, span) = self.next()?;
                    if matches!(event, Event::SequenceEnd | Event::StreamEnd) {
                        break span;
                    }
                    items.push(self.node(event, span, depth + 1)?);
                };
                (self.block(start, end, Data::List(items)), anchor)
            }
            Event::MappingStart(anchor, _) => {
                let (members, end) = self.members(depth)?;
                (self.block(start, end, Data::Table(members)), anchor)
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned();
                let node = node.ok_or_else(|| {
                    Slip::new(start.clone(), "no anchor has this name", "define it before it is used")
                })?;
                self.aliased = self.aliased.saturating_add(size(&node));
                if self.aliased > MAX_ALIASED {
                    return Err(Slip::new(start, "aliases stand for too much", "write the values out"));
                }
                (
                    Node {
                        data: node.data,
                        span: start,
                    },
                    0,
                )
            }
            _ => {
                return Err(Slip::new(
                    start,
                    "a value is missing here",
                    "write one, or delete the key",
                ));
            }
        };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn members(&mut self, depth: usize) -> Result<(Vec<(Key, Node)>, Span), Slip> {
        let mut members: Vec<(Key, Node)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let key_span = self.span(span);
            let name = match event {
                Event::MappingEnd | Event::StreamEnd => return Ok((members, span)),
                Event::Scalar(name, ..) => name.into_owned(),
                _ => return Err(Slip::new(key_span, "a key must be a plain word", "write `key: value`")),
            };
            if members.iter().any(|(key, _)| key.name == name) {
                let message = format!("the key `{name}` stands here a second time");
                return Err(Slip::new(key_span, message, "delete one of the two"));
            }
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            members.push((Key { name, span: key_span }, node));
        }
    }

    /// A list or table; in block style it ends where the next thing begins, so only its first line is its place.
    fn block(&self, start: Range<usize>, end: Span, data: Data) -> Node {
        let end = if end.is_empty() { start.end } else { self.span(end).end };
        let span = start.start..end.max(start.end);
        Node { data, span }
    }

    fn span(&self, span: Span) -> Range<usize> {
        let start = self.offset(span.start.index());
        start..self.offset(span.end.index()).max(start)
    }

    fn offset(&self, index: usize) -> usize {
        let last = self.bytes.last().copied().unwrap_or(0);
        self.bytes.get(index).copied().unwrap_or(last)
    }
}

/// What a plain scalar means in the core schema of YAML 1.2.
fn scalar(text: &str) -> Data {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Data::Null,
        "true" | "True" | "TRUE" => return Data::Bool(true),
        "false" | "False" | "FALSE" => return Data::Bool(false),
        _ => {}
    }
    let based = |prefix, radix| {
        let digits = text.strip_prefix(prefix)?;
        i64::from_str_radix(digits, radix).ok()
    };
    let integer = text.parse().ok().or_else(|| based("0x", 16)).or_else(|| based("0o", 8));
    if let Some(number) = integer {
        return Data::Integer(number);
    }
    let numeric = text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
    match text.parse() {
        Ok(number) if numeric => Data::Float(number),
        _ => Data::Text(text.to_owned()),
    }
}

fn size(node: &Node) -> usize {
    match &node.data {
        Data::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Data::Table(members) => 1 + members.iter().map(|(_, node)| size(node)).sum::<usize>(),
        _ => 1,
    }
}

fn byte_offsets(text: &str) -> Vec<usize> {
    let ends = std::iter::once(text.len());
    text.char_indices().map(|(at, _)| at).chain(ends).collect()
}
