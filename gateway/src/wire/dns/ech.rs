//! The configurations that an `ech` parameter publishes: RFC 9849 §4, as far as they tell an outer hello from another.
//!
//! Only the id and the public name are taken. Keys and suites are not looked at: nothing here opens a hello.

use crate::wire::reader::{Malformed, Reader};

/// The one version of RFC 9849; others are skipped.
const VERSION: u16 = 0xfe0d;

/// One published configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EchConfig {
    /// What an outer hello repeats in its extension.
    pub config_id: u8,
    /// The name that an outer hello is to show, lower-case.
    pub public_name: Box<[u8]>,
}

/// Reads an ECHConfigList; configurations over `configs_max` are left out.
pub(super) fn read(list: &[u8], configs_max: usize) -> Result<Vec<EchConfig>, Malformed> {
    let mut outer = Reader::new(list);
    let mut configs = Reader::new(outer.block16("ECHConfigList")?);
    outer.end("ECHConfigList")?;
    let mut found = Vec::new();
    while !configs.is_empty() && found.len() < configs_max {
        let version = configs.u16("ECHConfig.version")?;
        let contents = configs.block16("ECHConfig")?;
        if version == VERSION {
            found.push(config(contents)?);
        }
    }
    Ok(found)
}

/// Reads the contents of one configuration.
fn config(contents: &[u8]) -> Result<EchConfig, Malformed> {
    let mut reader = Reader::new(contents);
    let config_id = reader.u8("config_id")?;
    reader.u16("kem_id")?;
    reader.block16("public_key")?;
    reader.block16("cipher_suites")?;
    reader.u8("maximum_name_length")?;
    let public_name = reader.block8("public_name")?.to_ascii_lowercase().into();
    reader.block16("extensions")?;
    reader.end("ECHConfigContents")?;
    Ok(EchConfig { config_id, public_name })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of one configuration.
    fn list(config_id: u8, public_name: &[u8]) -> Vec<u8> {
        let count = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_be_bytes();
        let mut contents = vec![config_id, 0, 32, 0, 4, 1, 2, 3, 4, 0, 4, 0, 1, 0, 1, 0];
        contents.push(u8::try_from(public_name.len()).unwrap());
        contents.extend_from_slice(public_name);
        contents.extend([0, 0]);
        let config = [&VERSION.to_be_bytes()[..], &count(&contents), &contents].concat();
        [&count(&config)[..], &config].concat()
    }

    #[test]
    fn a_list_gives_ids_and_public_names_and_skips_other_versions() {
        let bytes = list(7, b"Cover.Example");
        let wanted = EchConfig { config_id: 7, public_name: b"cover.example"[..].into() };
        assert_eq!(read(&bytes, 4), Ok(vec![wanted]));
        let mut other = bytes.clone();
        other[3] = 0x0c;
        assert_eq!(read(&other, 4), Ok(Vec::new()));
        assert_eq!(read(&bytes, 0), Ok(Vec::new()));
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length], 4).is_err(), "{length}");
        }
    }
}
