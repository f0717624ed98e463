//! A ledger that another process has.

use std::path::Path;

use super::crash::{Lab, Load, Row, Shape, seed};
use super::some_traffic;

/// A second gateway on the same folders carries traffic, charges all of it, says why, and takes over when the first ends.
#[test]
fn b8_a_second_gateway_on_the_same_folders_waits_for_the_ledger() {
    let seed = seed();
    let first = Lab::new(&Shape::default());
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let second = Lab::new(&Shape {
        state_dir: text(&first.state),
        usage_dir: text(&first.usage),
        staging_dir: text(&first.staging),
        ..Shape::default()
    });
    let one = first.start(None);
    let loads = [Load::start(&first, seed), Load::start(&second, seed ^ 1)];
    some_traffic(&loads[0], 20);
    let two = second.start(None);
    let reasons = second.wait_not_ready("locked by another process");
    assert!(reasons.contains("overload"), "{reasons}");
    some_traffic(&loads[1], 40);
    first.wait_ready();
    let books = loads.map(Load::end);
    assert!(!second.get("/metrics").unwrap().1.contains("class=\"exempt\""));
    one.stop(&first);
    first.verify();
    assert_eq!(first.totals(), books[0].rows(), "the first one's, alone");
    second.wait_ready();
    two.stop(&second);
    second.verify();
    let mut wanted = books[0].rows();
    for (row, bytes) in books[1].rows() {
        let row = match row.class.as_str() {
            "exempt" => {
                Row { class: "charged".into(), service: String::new(), reason: "overload".into(), ..row }
            }
            _ => row,
        };
        wanted.entry(row).or_default().add(bytes);
    }
    assert_eq!(second.totals(), wanted);
}
