//! A user's WGSL put together: the library's modules that it imports, and types in place of aliases.
//!
//! WGSL lets declarations stand in any order. So what is imported goes behind the user's own text, in which no line and
//! no column moves: errors are shown where the user wrote them.

use std::ops::Range;

use codespan_reporting::diagnostic::{Diagnostic, Label};
use codespan_reporting::files::SimpleFiles;
use codespan_reporting::term;

use super::hints::{hints, is_noise, plain};
use crate::error::{Error, Result};
use crate::gpu::wgsl;

/// WGSL as it is compiled, and whose text each part of it is.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) text: String,
    parts: Vec<Part>,
    /// What is compiled, as messages call it: `kernel 'saxpy'`.
    pub(crate) what: String,
}

#[derive(Debug, Clone)]
struct Part {
    /// The file that messages name.
    file: String,
    range: Range<usize>,
    /// Whether it is a text of a user's that a template of ours surrounds.
    surrounded: bool,
}

/// Something wrong at some places, the first of which is the main one.
#[derive(Debug)]
pub(crate) struct Complaint {
    pub(crate) message: String,
    pub(crate) labels: Vec<(Range<usize>, String)>,
    pub(crate) notes: Vec<String>,
}

/// The modules that users can import: those that stand alone, or say at their top what they need.
pub(crate) const LIBRARY: &[&str] = &[
    "index",
    "reduce/one_row",
    "reduce/shared",
    "reduce/subgroups",
    "scan/workgroup",
    "dtype/float32",
    "dtype/float16",
    "dtype/bfloat16",
    "dtype/int32",
    "dtype/uint32",
    "dtype/int8",
    "dtype/uint8",
    "dtype/bool",
];

impl Source {
    /// Puts a user's text together. `types` take the place of aliases, by the aliases' names.
    pub(crate) fn new(what: String, file: &str, text: &str, types: &[(String, &str)]) -> Result<Self> {
        let mut source = Self { text: String::new(), parts: Vec::new(), what };
        // Editors on Windows begin files with a mark that is no character.
        let mut own = text.strip_prefix('\u{feff}').unwrap_or(text).to_string();
        for (name, ty) in types {
            let Some(range) = alias(&own, name) else {
                if words(&own).any(|(_, word)| word == name) {
                    let message = format!("the constant '{name}' is no alias: give a number, not {ty}");
                    return Err(Error::Kernel(format!("{}: {message}", source.what)));
                }
                return Err(Error::Kernel(format!(
                    "{}: the constant '{name}' is given the type {ty}, but the source has no line `alias {name} = f32;`",
                    source.what
                )));
            };
            own.replace_range(range, &format!(" {ty}"));
        }
        if types.iter().any(|(_, ty)| *ty == "f16") && !enables_f16(&own) {
            source.push("gpukern", "enable f16;\n");
        }
        source.push(file, &own);
        source.import(&own)?;
        Ok(source)
    }

    /// Puts a template of ours together with texts of the user's, each of which is a file of its own in messages.
    ///
    /// The template names them in braces, alone on a line.
    pub(crate) fn from_template(what: String, template: &str, texts: &[(&str, &str)]) -> Result<Self> {
        let mut source = Self { text: String::new(), parts: Vec::new(), what };
        let mut own = String::new();
        for line in template.lines() {
            let slot = line.trim().strip_prefix('{').and_then(|line| line.strip_suffix('}'));
            match slot.and_then(|slot| texts.iter().find(|(name, _)| *name == slot)) {
                None => own.extend([line, "\n"]),
                Some((name, text)) => {
                    source.push("gpukern", &std::mem::take(&mut own));
                    source.push(name, text);
                    source.parts.last_mut().filter(|_| !text.is_empty()).into_iter().for_each(|p| p.surrounded = true);
                    own.push('\n');
                }
            }
        }
        source.push("gpukern", &own);
        for (_, text) in texts {
            source.import(text)?;
        }
        Ok(source)
    }

    fn push(&mut self, file: &str, text: &str) {
        if !text.is_empty() {
            let start = self.text.len();
            self.text.push_str(text);
            self.parts.push(Part { file: file.into(), range: start..self.text.len(), surrounded: false });
        }
    }

    /// Appends what the import lines of a text ask for, each once.
    fn import(&mut self, text: &str) -> Result<()> {
        let comments = block_comments(text);
        let mut start = 0;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let at = start + line.len() - line.trim_start().len();
            start += line.len();
            let trimmed = line.trim();
            let Some(import) = trimmed.strip_prefix(wgsl::IMPORT.trim_end()) else { continue };
            let is_word = !import.starts_with(|c: char| !c.is_whitespace());
            if !is_word || comments.iter().any(|comment| comment.contains(&at)) {
                continue;
            }
            let import = import.trim();
            let (name, prefix) = match import.split_once(" as ") {
                Some((name, prefix)) => (name.trim(), Some(prefix.trim())),
                None => (import, None),
            };
            let why = if !LIBRARY.contains(&name) {
                Some(format!("there is no such module; the modules are {}", LIBRARY.join(", ")))
            } else if prefix.is_some_and(|prefix| !is_name(prefix)) {
                Some("what stands behind `as` is no name".into())
            } else {
                None
            };
            if let Some(why) = why {
                let line = shortened(trimmed);
                return Err(Error::Kernel(format!("{}: line {}: `{line}`: {why}", self.what, number + 1)));
            }
            let file = format!("gpukern: {name}{}", prefix.map_or_else(String::new, |prefix| format!(" as {prefix}")));
            // The same under the same name is the same.
            if self.parts.iter().all(|part| part.file != file) {
                let body = wgsl::imported(import, &[])?;
                self.push("gpukern", "\n");
                self.push(&file, &body);
            }
        }
        Ok(())
    }

    /// Whether a place is in a text of ours, not of the user's.
    pub(crate) fn is_ours(&self, place: usize) -> bool {
        self.parts.iter().any(|part| part.file.starts_with("gpukern") && part.range.contains(&place))
    }

    /// The error for something wrong in the text.
    pub(crate) fn refuse(&self, mut complaint: Complaint) -> Error {
        let hints = hints(&complaint, &self.text);
        complaint.notes.retain(|note| !is_noise(note));
        let mut notes: Vec<String> =
            complaint.notes.iter().map(|note| format!("note: {}", shortened(&plain(note)))).collect();
        notes.dedup();
        if self.parts.iter().any(|part| part.surrounded) {
            // A whole function or statement says less than the part of it that is wrong.
            let is_own = |place: &Range<usize>| {
                self.parts.iter().any(|part| part.surrounded && part.range.contains(&place.start))
            };
            let places = complaint.labels.iter().map(|(place, _)| place.clone());
            let inner: Vec<Range<usize>> = places.filter(is_own).collect();
            let around = |a: &Range<usize>, b: &Range<usize>| a != b && a.start <= b.start && b.end <= a.end;
            complaint.labels.retain(|(place, _)| !inner.iter().any(|other| around(place, other)));
            complaint.labels.retain(|(place, _)| self.place(place).is_some());
        }
        let mut files = SimpleFiles::new();
        let mut whole = vec![None; self.parts.len()];
        let mut labels = Vec::new();
        let mut renamed = Vec::new();
        // What the user wrote comes first.
        complaint.labels.sort_by_key(|(range, _)| self.is_ours(range.start));
        for (i, (range, message)) in complaint.labels.iter().enumerate() {
            let Some((part, range)) = self.place(range) else { continue };
            let Part { file, range: within, .. } = &self.parts[part];
            let text = &self.text[within.clone()];
            let place = range.start.min(within.end) - within.start..range.end.min(within.end) - within.start;
            let (id, place) = match excerpt(text, &place) {
                None => (*whole[part].get_or_insert_with(|| files.add(file.clone(), printable(text))), place),
                Some(cut) => {
                    // The excerpt is a file of its own, which begins with its first line.
                    let name = format!("{file}, cut");
                    let (line, column) = position(text, place.start);
                    let shown = format!("{name}:1:{}", position(&text[cut.clone()], place.start - cut.start).1);
                    renamed.push((shown, format!("{file}:{line}:{column}")));
                    let within = place.start - cut.start..place.end.min(cut.end) - cut.start;
                    (files.add(name, printable(&text[cut])), within)
                }
            };
            let label = if i == 0 { Label::primary(id, place) } else { Label::secondary(id, place) };
            // Names of the compiler's own data say nothing to its users.
            let message = if message.starts_with("naga::") { String::new() } else { shortened(&plain(message)) };
            labels.push(label.with_message(message));
        }
        let message = shortened(&plain(&complaint.message));
        notes.extend(hints);
        let diagnostic = Diagnostic::error().with_message(&message).with_labels(labels).with_notes(notes);
        let mut shown = term::emit_into_string(&term::Config::default(), &files, &diagnostic)
            .unwrap_or_else(|_| format!("error: {message}"));
        for (from, to) in renamed {
            shown = shown.replacen(&from, &to, 1);
        }
        Error::Kernel(format!("{} does not compile\n{}", self.what, shown.trim_end()))
    }

    /// The part in which a place is shown, and what of it.
    fn place(&self, range: &Range<usize>) -> Option<(usize, Range<usize>)> {
        let parts = || self.parts.iter().enumerate();
        let found = parts().find(|(_, part)| part.range.contains(&range.start));
        if parts().all(|(_, part)| !part.surrounded) || found.is_some_and(|(_, part)| part.surrounded) {
            // What lacks an end lacks it behind the last character.
            let part = found.map_or(self.parts.len().checked_sub(1)?, |(index, _)| index);
            return Some((part, range.clone()));
        }
        // What a template says about a formula, it says about the whole of the text that it surrounds, or of its end.
        let trimmed = |part: &Part| {
            let text = &self.text[part.range.clone()];
            let start = part.range.start + (text.len() - text.trim_start().len());
            start..start + text.trim().len()
        };
        let within = parts().find(|(_, p)| p.surrounded && p.range.start >= range.start && p.range.start < range.end);
        let before = || {
            let mut texts = parts().filter(|(_, part)| part.surrounded && part.range.end <= range.start);
            texts.next_back().filter(|(_, part)| self.text[part.range.end..range.start].trim().is_empty())
        };
        match (within, found) {
            (Some((index, part)), _) => Some((index, trimmed(part))),
            (None, Some((index, part))) if part.file != "gpukern" => Some((index, range.clone())),
            _ => before().map(|(index, part)| (index, trimmed(part).end..trimmed(part).end)),
        }
    }

    /// The error for something wrong in one of the texts that a template surrounds.
    pub(crate) fn refuse_at(&self, file: &str, place: &Range<usize>, message: &str) -> Error {
        let start = self.parts.iter().find(|part| part.file == file).map_or(0, |part| part.range.start);
        let labels = vec![(start + place.start..start + place.end, String::new())];
        self.refuse(Complaint { message: message.into(), labels, notes: Vec::new() })
    }

    /// Where a function of this name begins, for complaints that name it and no place.
    pub(crate) fn function(&self, name: &str) -> Option<Range<usize>> {
        let mut words = words(&self.text);
        while let Some((_, word)) = words.next() {
            if word == "fn"
                && let Some((start, found)) = words.next()
                && found == name
            {
                return Some(start..start + found.len());
            }
        }
        None
    }
}

/// Whether f16 is among what a text enables.
fn enables_f16(text: &str) -> bool {
    let enables = words(text).filter(|(_, word)| *word == "enable");
    let mut lists = enables.map(|(at, _)| &text[at..at + text[at..].find(';').unwrap_or(0)]);
    lists.any(|list| words(list).any(|(_, word)| word == "f16"))
}

/// Whether a text has an alias of this name.
pub(super) fn has_alias(text: &str, name: &str) -> bool {
    alias(text, name).is_some()
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_') && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// Where in a text the type of the alias of this name stands.
fn alias(text: &str, name: &str) -> Option<Range<usize>> {
    let mut words = words(text);
    while let Some((_, word)) = words.next() {
        if word == "alias"
            && let Some((at, found)) = words.next()
            && found == name
        {
            let start = at + found.len();
            let start = start + text[start..].find('=')? + 1;
            return Some(start..start + text[start..].find(';')?);
        }
    }
    None
}

/// The names, keywords and numbers of a WGSL text and where they begin, without its comments.
pub(crate) fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = &text[at..];
            let first = rest.chars().next()?;
            if rest.starts_with("//") {
                at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                at += comment(rest).0;
            } else if first.is_alphanumeric() || first == '_' {
                let start = at;
                at += rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                return Some((start, &text[start..at]));
            } else {
                at += first.len_utf8();
            }
        }
    })
}

/// Where the block comments of a text are.
fn block_comments(text: &str) -> Vec<Range<usize>> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            let length = comment(rest).0;
            all.push(at..at + length);
            at += length;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    all
}

/// The first bracket of a text that lacks its partner, or the comment that lacks its end.
pub(crate) fn unpaired(text: &str) -> Option<(Range<usize>, &'static str)> {
    let mut open: Vec<(usize, char)> = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let here = at..at + first.len_utf8();
        let partner = match first {
            ')' => Some('('),
            ']' => Some('['),
            '}' => Some('{'),
            _ => None,
        };
        at = here.end;
        if rest.starts_with("//") {
            at = here.start + rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            let (length, ends) = comment(rest);
            if !ends {
                return Some((here.start..here.start + 2, "this comment does not end"));
            }
            at = here.start + length;
        } else if matches!(first, '(' | '[' | '{') {
            open.push((here.start, first));
        } else if partner.is_some() && open.pop().map(|(_, opened)| opened) != partner {
            return Some((here, "this closes nothing that is open"));
        }
    }
    open.pop().map(|(start, _)| (start..start + 1, "this is not closed"))
}

/// The length of the block comment with which a text begins, and whether it ends. They nest.
fn comment(text: &str) -> (usize, bool) {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        let step = match rest {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    // Steps of one byte may end within a character, but a comment's end is ASCII.
    (at.min(text.len()), depth == 0)
}

/// The most bytes of a line, and of a message, that are shown.
const SHOWN: usize = 300;

/// The part to show of the line in which a place begins, if it is too long to be shown.
fn excerpt(text: &str, place: &Range<usize>) -> Option<Range<usize>> {
    let line = text[..place.start].rfind('\n').map_or(0, |end| end + 1);
    let end = text[place.start..].find('\n').map_or(text.len(), |end| place.start + end);
    (end - line > SHOWN).then(|| {
        let start = text.floor_char_boundary(place.start.saturating_sub(SHOWN / 4).max(line));
        start..text.floor_char_boundary((place.start + SHOWN / 2).min(end))
    })
}

/// The line and the column of a place, counted from 1.
fn position(text: &str, place: usize) -> (usize, usize) {
    let before = &text[..place];
    let line = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[line..].chars().count() + 1)
}

/// A message without the middle, where it is very long.
pub(super) fn shortened(text: &str) -> String {
    if text.len() <= 4 * SHOWN {
        return text.into();
    }
    let tail = text.ceil_char_boundary(text.len() - SHOWN);
    format!("{} … {}", &text[..text.floor_char_boundary(SHOWN)], &text[tail..])
}

/// A text without control characters, each byte of which is replaced so that columns stay.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let bad = c.is_control() && !matches!(c, '\n' | '\t' | '\r');
            std::iter::repeat_n(if bad { '?' } else { c }, if bad { c.len_utf8() } else { 1 })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str, types: &[(String, &str)]) -> Result<Source> {
        Source::new("kernel 'test'".into(), "test", text, types)
    }

    #[test]
    fn aliases_are_found_outside_comments() {
        let text = "// alias T = u32;\n/* alias T = i32; /* */ alias T = i32; */ alias  T=f32 ;\nfn f() {}";
        let changed = source(text, &[("T".into(), "f16")]).unwrap();
        assert_eq!(changed.text, format!("enable f16;\n{}", text.replace("T=f32 ;", "T= f16;")));
        let message = source(text, &[("U".into(), "f16")]).unwrap_err().to_string();
        assert!(message.contains("'U'") && message.contains("alias U"), "{message}");
    }

    #[test]
    fn imports_move_nothing() {
        let text = "//! import dtype/float16 as half\nfn f() -> f32 { return half_element(1u, 0u); }";
        let whole = source(text, &[]).unwrap();
        assert!(whole.text.starts_with(text) && whole.text.contains("fn half_element"));
        let at = whole.text.find("fn half_round").unwrap();
        let complaint = Complaint {
            message: "wrong".into(),
            labels: vec![(39..40, "here".into()), (at..at + 2, "there".into())],
            notes: Vec::new(),
        };
        let message = whole.refuse(complaint).to_string();
        assert!(message.contains("test:2:7") && message.contains("gpukern: dtype/float16 as half"), "{message}");
        let message = source("\n//! import dtype/float17", &[]).unwrap_err().to_string();
        assert!(message.contains("line 2") && message.contains("dtype/float16"), "{message}");
    }

    #[test]
    fn brackets_have_partners() {
        for text in ["", "f(a[i]) { }", "/* ( /* [ */ */ ()", "// (\n", "ü()"] {
            assert_eq!(unpaired(text), None, "{text}");
        }
        let cases = [("(a", 0..1), ("a)", 1..2), ("(a]", 2..3), ("ü}", 2..3), ("(/*/ )", 1..3), ("{ /* } /* */", 2..4)];
        for (text, place) in cases {
            assert_eq!(unpaired(text).unwrap().0, place, "{text}");
        }
    }

    #[test]
    fn what_surrounds_a_text_is_shown_as_the_text() {
        let template = "fn f() -> f32 { return f32(\n{map}\n);\n}";
        let whole = Source::from_template("kernel 'test'".into(), template, &[("map", " x * 2 ")]).unwrap();
        let shown = |words: &str, more: usize| {
            let start = whole.text.find(words).unwrap();
            let labels = vec![(start..start + words.len() + more, String::new())];
            whole.refuse(Complaint { message: "wrong".into(), labels, notes: Vec::new() }).to_string()
        };
        assert!(shown("* 2", 0).contains("map:1:4"));
        let all = shown("f32(", 5);
        assert!(all.contains("map:1:2") && all.contains("^^^^^") && !all.contains("return"), "{all}");
        let labels = [("x * 2", "all"), ("2", "part")].map(|(words, text)| {
            let start = whole.text.rfind(words).unwrap();
            (start..start + words.len(), text.to_string())
        });
        let part = whole.refuse(Complaint { message: "wrong".into(), labels: labels.to_vec(), notes: Vec::new() });
        assert!(part.to_string().contains("map:1:6") && !part.to_string().contains("all"), "{part}");
        let end = shown(");", 0);
        assert!(end.contains("map:1:7") && !end.contains("return"), "{end}");
        let elsewhere = shown("fn f(", 0);
        assert!(!elsewhere.contains("-->") && !elsewhere.contains("return"), "{elsewhere}");
    }

    #[test]
    fn any_text_ends() {
        for text in ["/*", "/* /* */", "//", "ü/*ü*/ü", "/", "_", "a\u{85}\u{1}b", "alias", "alias T", "alias T ="] {
            words(text).count();
            unpaired(text);
            assert!(alias(text, "T").is_none());
            assert_eq!(printable(text).len(), text.len());
        }
    }
}
