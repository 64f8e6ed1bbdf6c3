-- What was decided, by replayed ratings or by an operator: whether the next model may answer, and whether searches learn.
CREATE TABLE gate_decisions (
    gate        TEXT COLLATE "C" NOT NULL,        -- 'switch' or 'learning'
    number      BIGINT  NOT NULL,                 -- counts up, for each gate
    model       TEXT    NOT NULL,                 -- the one that is let in, or that answers
    former      TEXT    NOT NULL,                 -- the one that it would follow; empty: any, or none
    outcome     TEXT    NOT NULL,
    figures     TEXT,                             -- JSON; null: nothing was measured
    by_operator BOOLEAN NOT NULL,
    decided_ms  BIGINT  NOT NULL,
    PRIMARY KEY (gate, number)
);
