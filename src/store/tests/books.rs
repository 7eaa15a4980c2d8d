//! Books keep what others give them.

use super::*;

#[test]
fn a_book_keeps_the_newest_of_each_page() {
    run(async {
        let scratch = Scratch::new();
        let (store, mut contents) = Store::start(&scratch.file()).unwrap();
        let (book, pages) = store.book::<u32>("names", &mut contents);
        assert_eq!(pages, []);
        let (other, _) = store.book::<String>("other", &mut contents);
        for number in 0..100 {
            book.put("a", &number);
            other.put(number.to_string(), &"x".repeat(3));
        }
        book.put("b", &1);
        book.remove("b");
        store.finish().await.unwrap();
        let (store, mut contents) = Store::start(&scratch.file()).unwrap();
        assert_eq!(
            store.book::<u32>("names", &mut contents).1,
            [("a".into(), 99)]
        );
        // What is no number any more is dropped, not misread.
        assert_eq!(store.book::<u32>("other", &mut contents).1, []);
        store.finish().await.unwrap();
        let (store, mut contents) = Store::start(&scratch.file()).unwrap();
        assert_eq!(store.book::<String>("other", &mut contents).1, []);
        store.finish().await.unwrap();
    });
}
