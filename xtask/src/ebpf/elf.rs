//! What can be read from a BPF object without loading it: instruction counts, and that no DWARF is left but BTF is.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use object::{Object as _, ObjectSection as _, SectionKind};

/// Bytes of one BPF instruction slot (a 64-bit immediate load takes two).
const INSTRUCTION: u64 = 8;

/// Instruction slots by code section (`xdp` holds programs, `.text` what they call). Fails unless the object has code and BTF,
/// and no DWARF.
pub(crate) fn instructions(name: &str, bytes: &[u8]) -> Result<BTreeMap<String, u64>> {
    let file = object::File::parse(bytes).with_context(|| format!("{name} is no ELF object"))?;
    let mut counts = BTreeMap::new();
    let mut has_btf = false;
    for section in file.sections() {
        let section_name = section.name()?;
        has_btf |= section_name == ".BTF";
        if section_name.starts_with(".debug") {
            bail!("{name} still has the DWARF section {section_name}");
        }
        if section.kind() == SectionKind::Text && section.size() > 0 {
            counts.insert(section_name.to_owned(), section.size() / INSTRUCTION);
        }
    }
    if !has_btf {
        bail!("{name} has no .BTF section: it was not linked with --btf");
    }
    if counts.is_empty() {
        bail!("{name} has no code");
    }
    Ok(counts)
}
