use super::*;

#[test]
fn every_shipped_scenario_is_one() {
    let mut count = 0;
    for (name, text) in shipped() {
        let scenario = Scenario::parse(name, text).unwrap();
        assert_eq!(scenario.name, name);
        count += 1;
    }
    assert!(count > 0);
}
