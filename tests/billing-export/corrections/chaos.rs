//! Random worlds of ticks, seals, corrections and stops against a model: a number for each usage record.

use std::collections::BTreeMap;

use super::*;

/// Worlds unless `ZRGW_CORRECTION_SEEDS` says otherwise.
const SEEDS: u64 = 150;
/// What happens in one.
const EVENTS: u64 = 60;

/// Bytes of each usage record with its corrections, and where the references of corrections end.
#[derive(Default)]
struct Model {
    net: BTreeMap<(u32, u64), (i128, i128)>,
    leads: BTreeMap<(u32, u64), (u32, u64)>,
    own: BTreeMap<(u32, u64), (i128, i128)>,
    refers: BTreeMap<(u32, u64), (u32, u64)>,
}

impl Model {
    /// A correction with what refers to it.
    fn with_all_behind(&self, key: (u32, u64)) -> (i128, i128) {
        let behind =
            self.refers.iter().filter(|(_, to)| **to == key).map(|(from, _)| self.with_all_behind(*from));
        behind.fold(self.own[&key], |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// What a correction comes to, or nothing where it is refused.
    fn expected(&self, reference: (u32, u64), amount: Amount) -> Option<(i128, i128)> {
        let usage = *self.leads.get(&reference).unwrap_or(&reference);
        let net = *self.net.get(&usage)?;
        let (up, down) = match amount {
            Amount::By(up, down) => (up.bytes(), down.bytes()),
            Amount::Void if usage == reference => (-net.0, -net.1),
            Amount::Void => {
                let (up, down) = self.with_all_behind(reference);
                (-up, -down)
            }
        };
        let is_fit = (up, down) != (0, 0) && net.0 + up >= 0 && net.1 + down >= 0;
        is_fit.then_some((up, down))
    }

    /// It was made.
    fn made(&mut self, one: &Adjusted) {
        let (key, reference) = ((one.epoch, one.seq), (one.reference.epoch, one.reference.seq));
        let usage = *self.leads.get(&reference).unwrap_or(&reference);
        let net = self.net.get_mut(&usage).unwrap();
        *net = (net.0 + one.up.bytes(), net.1 + one.down.bytes());
        self.leads.insert(key, usage);
        self.refers.insert(key, reference);
        self.own.insert(key, bytes(one));
    }
}

/// A reference to something, mostly to a record that is there.
fn any_reference(random: &mut Seeded, model: &Model, epoch: u32) -> (u32, u64) {
    let keys: Vec<_> = model.net.keys().chain(model.own.keys()).copied().collect();
    match keys.len() as u64 {
        0 => (epoch, random.below(5)),
        count if random.below(10) > 0 => keys[random.below(count) as usize],
        _ => (random.below(3) as u32, random.below(40)),
    }
}

/// One world. Returns how many corrections were made and refused.
fn world(seed: u64) -> (u64, u64) {
    let mut random = Seeded(seed);
    let (mut node, mut model) = (Node::new(), Model::default());
    let mut exporter = Some(node.open(at(0)));
    let (mut clock, mut sequence, mut epoch) = (0_i64, 0, 1);
    let (mut made, mut refused) = (0, 0);
    let mut published = 0;
    for _ in 0..EVENTS {
        clock += i64::try_from(random.below(7 * 60)).unwrap() * 1_000;
        match random.below(8) {
            0..=2 => {
                let Some(exporter) = &mut exporter else { continue };
                sequence += 1;
                let id = format!("7701000000{}", random.below(4));
                let account =
                    if random.below(3) == 0 { charged(&id, Reason::NotListed) } else { exempt(&id, "a") };
                let usage = [(account, volume(random.below(50), random.below(50)))];
                exporter.checkpoint(&tick(sequence, at(clock), &usage)).unwrap();
            }
            3 => {
                let Some(exporter) = &mut exporter else { continue };
                exporter.seal_due(at(clock)).unwrap();
                exporter.publish().unwrap();
            }
            4 => match exporter.take() {
                None => exporter = Some(node.open(at(clock))),
                // Ended without a word, or closed.
                Some(open) if random.below(2) == 0 => drop(open),
                Some(open) => open.close().unwrap(),
            },
            _ => {
                let reference = any_reference(&mut random, &model, epoch);
                let amount = match random.below(3) {
                    0 => Amount::Void,
                    _ => by(i128::from(random.below(60)) - 40, i128::from(random.below(60)) - 40),
                };
                let expected = model.expected(reference, amount);
                let reference = of(reference.0, reference.1);
                let outcome = match &mut exporter {
                    Some(exporter) => make_by(&mut node, exporter, reference, amount),
                    None => make(&mut node, reference, amount).map_err(|refusal| refusal.to_string()),
                };
                assert_eq!(outcome.as_ref().ok().map(bytes), expected, "seed {seed}: {outcome:?}");
                match outcome {
                    Ok(one) => {
                        model.made(&one);
                        made += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
        }
        if let Some(exporter) = &mut exporter {
            epoch = exporter.epoch();
            exporter.publish().unwrap();
            for row in node.rows().iter().skip(published) {
                published += 1;
                if row["kind"] == "usage" {
                    let key = (row["epoch"].parse().unwrap(), number(row, "record_seq"));
                    model
                        .net
                        .entry(key)
                        .or_insert((number(row, "up_bytes").into(), number(row, "down_bytes").into()));
                }
            }
        }
    }
    let mut last = exporter.take().unwrap_or_else(|| node.open(at(clock)));
    last.publish().unwrap();
    last.close().unwrap();
    node.verify();
    node.render_all_again();
    // What billing sums up is what the model has.
    let mut sums = BTreeMap::<(u32, u64), (i128, i128)>::new();
    let mut leads = BTreeMap::new();
    for row in node.rows() {
        let own = |column: &str| row[column].parse::<i128>().unwrap();
        let key =
            |epoch: &str, seq: &str| (row[epoch].parse::<u32>().unwrap(), row[seq].parse::<u64>().unwrap());
        let usage = match row["kind"].as_str() {
            "usage" => key("epoch", "record_seq"),
            "adjust" => {
                let to = key("ref_epoch", "ref_seq");
                let usage = *leads.get(&to).unwrap_or(&to);
                leads.insert(key("epoch", "record_seq"), usage);
                usage
            }
            _ => continue,
        };
        let sum = sums.entry(usage).or_default();
        *sum = (sum.0 + own("up_bytes"), sum.1 + own("down_bytes"));
        assert!(sum.0 >= 0 && sum.1 >= 0, "seed {seed}: below nothing at {row:?}");
    }
    for (key, net) in &model.net {
        assert_eq!(sums.get(key), Some(net), "seed {seed}: record {key:?}");
    }
    (made, refused)
}

#[test]
fn b30_random_corrections_equal_the_model_over_stops_and_starts() {
    let seeds =
        std::env::var("ZRGW_CORRECTION_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let (mut made, mut refused) = (0, 0);
    for seed in 0..seeds {
        let (more, fewer) = world(seed);
        (made, refused) = (made + more, refused + fewer);
    }
    println!("{seeds} worlds: {made} corrections made, {refused} refused");
    assert!(made > seeds && refused > seeds, "{made} made, {refused} refused");
}
