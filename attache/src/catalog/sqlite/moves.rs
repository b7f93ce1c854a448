//! How far a move is: one row, that of the furthest mover.

use async_trait::async_trait;
use rusqlite::{OptionalExtension as _, params};

use super::SqliteCatalog;
use crate::catalog::moves::{MoveNote, MoveNotes};
use crate::catalog::{instant, millis, signed, unsigned};
use crate::error::Result;

#[async_trait]
impl MoveNotes for SqliteCatalog {
    async fn note_move(&self, note: &MoveNote) -> Result<()> {
        let note = note.clone();
        self.write("note_move", move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO moves (one, from_place, to_place, objects, bytes, total_objects, total_bytes, noted_ms) \
                     VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7) \
                     ON CONFLICT (one) DO UPDATE SET \
                     objects = CASE WHEN ?8 OR from_place <> ?1 OR to_place <> ?2 THEN ?3 ELSE max(objects, ?3) END, \
                     bytes = CASE WHEN ?8 OR from_place <> ?1 OR to_place <> ?2 THEN ?4 ELSE max(bytes, ?4) END, \
                     from_place = ?1, to_place = ?2, total_objects = ?5, total_bytes = ?6, noted_ms = ?7",
                )?
                .execute(params![
                    note.from,
                    note.to,
                    signed(note.objects)?,
                    signed(note.bytes)?,
                    signed(note.total_objects)?,
                    signed(note.total_bytes)?,
                    millis(note.noted_at),
                    note.is_whole,
                ])?;
            Ok(())
        })
        .await
    }

    async fn noted_move(&self) -> Result<Option<MoveNote>> {
        self.read("noted_move", |connection| {
            let found = connection
                .prepare_cached(
                    "SELECT from_place, to_place, objects, bytes, total_objects, total_bytes, noted_ms FROM moves",
                )?
                .query_row([], |row| {
                    let note = MoveNote {
                        from: row.get(0)?,
                        to: row.get(1)?,
                        objects: unsigned(row.get(2)?),
                        bytes: unsigned(row.get(3)?),
                        total_objects: unsigned(row.get(4)?),
                        total_bytes: unsigned(row.get(5)?),
                        noted_at: time::OffsetDateTime::UNIX_EPOCH,
                        is_whole: false,
                    };
                    Ok((note, row.get::<_, i64>(6)?))
                })
                .optional()?;
            let Some((note, noted_ms)) = found else {
                return Ok(None);
            };
            Ok(Some(MoveNote {
                noted_at: instant(noted_ms)?,
                ..note
            }))
        })
        .await
    }
}
