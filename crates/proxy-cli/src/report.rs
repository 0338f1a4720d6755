//! Renders what is wrong with a configuration, with the lines of the file.

use std::fmt;
use std::ops::Range;

use mcp_proxy::config::{ConfigErrors, Place, Problem, SourceText};
use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, Severity,
    SourceCode, SourceSpan, SpanContents,
};

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Weight {
    Error,
    Warning,
}

/// All problems of a configuration and how many there are.
pub(crate) fn errors(errors: &ConfigErrors, colours: bool) -> String {
    let count = errors.problems().len();
    let mut text = problems(errors.problems(), Weight::Error, colours);
    text += &match count {
        1 => "1 problem found\n".to_owned(),
        count => format!("{count} problems found\n"),
    };
    text
}

/// The problems one after the other, each with the line where it stands.
pub(crate) fn problems(problems: &[Problem], weight: Weight, colours: bool) -> String {
    let mut theme = match colours {
        true => GraphicalTheme::unicode(),
        false => GraphicalTheme::unicode_nocolor(),
    };
    theme.characters.error = "error:".into();
    theme.characters.warning = "warning:".into();
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(120)
        .with_links(false);
    let mut text = String::new();
    for problem in problems {
        let shown = Shown::new(problem, weight);
        if handler.render_report(&mut text, &shown).is_err() {
            text += &format!("{problem}\n");
        }
        text.push('\n');
    }
    text
}

/// A problem as miette wants it.
#[derive(Debug)]
struct Shown<'p> {
    problem: &'p Problem,
    weight: Weight,
    source: Option<OneLine<'p>>,
    title: String,
}

impl<'p> Shown<'p> {
    fn new(problem: &'p Problem, weight: Weight) -> Self {
        // A line that may hold a secret is named, never shown.
        let source = match &problem.place {
            Some(Place::Text { source, span }) if !problem.secret => Some(OneLine::new(source, span)),
            _ => None,
        };
        let mut title = problem.message.clone();
        if source.is_none() {
            let place = problem.place.as_ref().map(ToString::to_string).unwrap_or_default();
            let parts = [place.as_str(), problem.key.as_str()];
            let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            if !parts.is_empty() {
                title = format!("{title}\n--> {}", parts.join("   "));
            }
        }
        Self {
            problem,
            weight,
            source,
            title,
        }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<Severity> {
        Some(match self.weight {
            Weight::Error => Severity::Error,
            Weight::Warning => Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let remedy = self.problem.remedy.as_ref()?;
        Some(Box::new(remedy))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let Some(Place::Text { source, span }) = &self.problem.place else {
            return None;
        };
        // Of a table or list only the first line: what is wrong is told in the message.
        let first = source
            .text
            .get(span.clone())
            .and_then(|text| text.lines().next())
            .map_or(0, str::len);
        let label = Some(self.problem.key.clone()).filter(|key| !key.is_empty());
        let label = LabeledSpan::new(label, span.start, first);
        Some(Box::new(std::iter::once(label)))
    }
}

/// The line of a problem and no other, with everything masked that might be a secret in the wrong place.
#[derive(Debug)]
struct OneLine<'s> {
    name: &'s str,
    line: String,
    /// Where the line begins in the text, in bytes.
    start: usize,
    /// The number of the line and the column of the problem, counted from 0.
    place: (usize, usize),
}

impl<'s> OneLine<'s> {
    fn new(source: &'s SourceText, span: &Range<usize>) -> Self {
        let text = &source.text;
        let before = text.get(..span.start).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = text[start..].lines().next().unwrap_or_default();
        let shown = span.start - start.min(span.start)..span.end.saturating_sub(start);
        Self {
            name: &source.name,
            line: masked(line, &shown),
            start,
            place: (before.matches('\n').count(), before[start..].chars().count()),
        }
    }
}

impl SourceCode for OneLine<'_> {
    fn read_span<'a>(
        &'a self,
        _: &SourceSpan,
        context: usize,
        _: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let (number, column) = self.place;
        // Asked without context, it is for the heading, which says where the span begins.
        let column = if context == 0 { column } else { 0 };
        let span = (self.start, self.line.len()).into();
        let contents =
            MietteSpanContents::new_named(self.name.to_owned(), self.line.as_bytes(), span, number, column, 1);
        Ok(Box::new(contents))
    }
}

/// The line with stars for its words, but for its first key, what is complained of, and small numbers and truth values: a
/// misspelt key may well stand before a password. The length in bytes stays.
fn masked(line: &str, shown: &Range<usize>) -> String {
    let heading = line
        .trim_start()
        .trim_start_matches('[')
        .starts_with(|char: char| char.is_ascii_lowercase());
    let key = line
        .find(['=', ':'])
        .unwrap_or(if heading && line.contains('[') { line.len() } else { 0 });
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let at = line.len() - rest.len();
        let end = rest.find(|char: char| !char.is_alphanumeric()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end.max(first.len_utf8()));
        let is_plain =
            word.len() <= 6 && word.bytes().all(|byte| byte.is_ascii_digit()) || matches!(word, "true" | "false");
        if end == 0 || at < key || shown.contains(&at) || is_plain {
            out.push_str(word);
        } else {
            out.extend(std::iter::repeat_n('*', word.len()));
        }
        rest = after;
    }
    out
}
