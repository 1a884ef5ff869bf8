-- A call that was let through because nothing could come of it stays one that changes nothing.

ALTER TABLE operations ADD COLUMN read_only BOOLEAN NOT NULL DEFAULT FALSE;
