//! Relations between two keys: judged only when both are right by themselves, reported where one of them is written.

use crate::reader::{Mismatch, Reader};
use crate::section::Stated;

/// Notes a problem unless the first value is at least the second. `show` writes a value as the file does.
pub(crate) fn at_least<T: PartialOrd + Copy>(
    reader: &mut Reader<'_>,
    (larger_key, larger): (&str, &Stated<T>),
    (smaller_key, smaller): (&str, &Stated<T>),
    show: impl Fn(T) -> String,
) {
    if !larger.sound || !smaller.sound || larger.value >= smaller.value {
        return;
    }
    let origin = |stated: &Stated<T>| if stated.written { "" } else { ", the default" };
    if larger.written {
        let found = show(larger.value);
        let wanted = format!("at least {smaller_key} ({}{})", show(smaller.value), origin(smaller));
        reader.wrong(larger_key, larger.at, Mismatch::new(found, wanted));
    } else {
        let found = show(smaller.value);
        let wanted = format!("at most {larger_key} ({}{})", show(larger.value), origin(larger));
        reader.wrong(smaller_key, smaller.at, Mismatch::new(found, wanted));
    }
}
