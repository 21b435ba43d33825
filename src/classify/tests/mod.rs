use super::*;
#[test]
fn builtin_loads() {
    let b = Book::builtin().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(b.warnings(), &[] as &[String]);
}
