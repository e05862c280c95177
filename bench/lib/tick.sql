INSERT INTO tick (at) VALUES (clock_timestamp());
