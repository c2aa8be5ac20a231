//! Reads just enough of a component to say which functions its bytes are.
//!
//! Source: the [core specification](https://webassembly.github.io/spec/core/binary/modules.html), and
//! the component model's preamble, in which core modules are sections of number 1.

/// A function of a component: its mangled name, and the bytes of its body.
pub(crate) type Function = (String, usize);

/// The functions of the largest core module in `component`, if it was built with their names.
pub(crate) fn functions(component: &[u8]) -> Option<Vec<Function>> {
    let modules = sections(component.get(8..)?).filter(|(id, _)| *id == 1);
    let (_, module) = modules.max_by_key(|(_, module)| module.len())?;
    module_functions(module)
}

/// The same for a core module by itself.
pub(crate) fn module_functions(module: &[u8]) -> Option<Vec<Function>> {
    let (mut imported, mut bodies, mut names) = (0, Vec::new(), Vec::new());
    for (id, bytes) in sections(module.get(8..)?) {
        let mut at = Reader(bytes);
        match id {
            0 if at.text()? == "name" => names = function_names(at)?,
            2 => imported = imported_functions(at)?,
            10 => {
                for _ in 0..at.number()? {
                    let len = at.number()?;
                    at.take(len)?;
                    bodies.push(len);
                }
            }
            _ => {}
        }
    }
    let name = |index: usize| {
        let found = names.iter().find(|(known, _)| *known == index + imported);
        found.map_or_else(|| "?".to_owned(), |(_, name)| name.clone())
    };
    Some(bodies.into_iter().enumerate().map(|(index, len)| (name(index), len)).collect())
}

fn function_names(mut at: Reader<'_>) -> Option<Vec<(usize, String)>> {
    let mut names = Vec::new();
    while let Some(id) = at.byte() {
        let len = at.number()?;
        let mut part = Reader(at.take(len)?);
        if id == 1 {
            for _ in 0..part.number()? {
                names.push((part.number()?, part.text()?.to_owned()));
            }
        }
    }
    Some(names)
}

/// How many functions come from outside: they are counted first.
fn imported_functions(mut at: Reader<'_>) -> Option<usize> {
    let mut functions = 0;
    for _ in 0..at.number()? {
        let (_, _) = (at.text()?, at.text()?);
        match at.byte()? {
            0 => {
                functions += 1;
                at.number()?;
            }
            // A table is a type and limits, a memory is limits, a global is a type and a flag.
            kind @ (1 | 2) => {
                if kind == 1 {
                    at.byte()?;
                }
                let limits = at.byte()? & 1;
                for _ in 0..=limits {
                    at.number()?;
                }
            }
            _ => drop(at.take(2)?),
        }
    }
    Some(functions)
}

fn sections(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut at = Reader(bytes);
    std::iter::from_fn(move || {
        let id = at.byte()?;
        let len = at.number()?;
        Some((id, at.take(len)?))
    })
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn take(&mut self, len: usize) -> Option<&'b [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    /// An unsigned number in LEB128.
    fn number(&mut self) -> Option<usize> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            number |= usize::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(number);
            }
            shift += 7;
        }
    }

    fn text(&mut self) -> Option<&'b str> {
        let len = self.number()?;
        core::str::from_utf8(self.take(len)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_counted_behind_those_that_are_imported() {
        // One import, one function of three bytes, and a name for it.
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        module.extend(b"\x02\x07\x01\x01a\x01b\x00\x00");
        module.extend(b"\x0a\x05\x01\x03\x00\x01\x0b");
        module.extend(b"\x00\x0b\x04name\x01\x04\x01\x01\x01f");
        let mut component = b"\0asm\x0d\0\x01\0\x01".to_vec();
        component.push(module.len() as u8);
        component.extend(&module);
        assert_eq!(functions(&component), Some(vec![("f".to_owned(), 3)]));
        assert_eq!(module_functions(&module), functions(&component));
        assert_eq!(functions(b"short"), None);
    }
}
