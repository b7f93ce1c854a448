//! How far a move is: one row, that of the furthest mover. And what is uploaded beside it.

use async_trait::async_trait;

use super::PostgresCatalog;
use super::ask::Ask;
use super::rows::{each, get};
use super::worker::DEAD_AFTER;
use crate::attachment::AttachmentId;
use crate::catalog::moves::{MoveNote, MoveNotes};
use crate::catalog::{instant, millis, signed, unsigned};
use crate::error::Result;

#[async_trait]
impl MoveNotes for PostgresCatalog {
    async fn note_move(&self, note: &MoveNote) -> Result<()> {
        let ask = Ask::new(
            "INSERT INTO attache.moves AS m (one, from_place, to_place, objects, bytes, total_objects, total_bytes, noted_ms)
             VALUES (1, $1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (one) DO UPDATE SET
                 objects = CASE WHEN $8 = 1 OR m.from_place <> excluded.from_place OR m.to_place <> excluded.to_place
                     THEN excluded.objects ELSE greatest(m.objects, excluded.objects) END,
                 bytes = CASE WHEN $8 = 1 OR m.from_place <> excluded.from_place OR m.to_place <> excluded.to_place
                     THEN excluded.bytes ELSE greatest(m.bytes, excluded.bytes) END,
                 from_place = excluded.from_place, to_place = excluded.to_place, total_objects = excluded.total_objects,
                 total_bytes = excluded.total_bytes, noted_ms = excluded.noted_ms",
        )
        .text(note.from.as_str())
        .text(note.to.as_str())
        .int(signed(note.objects)?)
        .int(signed(note.bytes)?)
        .int(signed(note.total_objects)?)
        .int(signed(note.total_bytes)?)
        .int(millis(note.noted_at))
        .int(i64::from(note.is_whole));
        self.write("note_move", ask).await?;
        Ok(())
    }

    async fn noted_move(&self) -> Result<Option<MoveNote>> {
        let ask = Ask::new(
            "SELECT from_place, to_place, objects, bytes, total_objects, total_bytes, noted_ms FROM attache.moves",
        );
        let rows = self.read("noted_move", &ask).await?;
        let notes = each("noted_move", &rows, |row| {
            Ok(MoveNote {
                from: get(row, 0)?,
                to: get(row, 1)?,
                objects: unsigned(get(row, 2)?),
                bytes: unsigned(get(row, 3)?),
                total_objects: unsigned(get(row, 4)?),
                total_bytes: unsigned(get(row, 5)?),
                noted_at: instant(get(row, 6)?)?,
                is_whole: false,
            })
        })?;
        Ok(notes.into_iter().next())
    }

    async fn uploading(
        &self,
        after: Option<&AttachmentId>,
        limit: u32,
    ) -> Result<Vec<AttachmentId>> {
        let ask = Ask::new(format!(
            "SELECT id FROM attache.attachments a WHERE state <> 'ready' AND id > $1
             AND (state = 'pending' OR state = 'partial' AND EXISTS (SELECT FROM attache.uploads u JOIN attache.workers w ON w.id = u.worker
                         WHERE u.id = a.id AND w.seen_at > clock_timestamp() - {DEAD_AFTER}))
             ORDER BY id LIMIT $2"
        ))
        .text(after.map_or_else(String::new, ToString::to_string))
        .int(i64::from(limit))
        .long();
        let rows = self.read("uploading", &ask).await?;
        each(
            "uploading",
            &rows,
            |row| Ok(get::<String>(row, 0)?.parse()?),
        )
    }
}
