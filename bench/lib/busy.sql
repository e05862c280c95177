\set id random(1, 10000)
UPDATE busy SET n = n + 1 WHERE id = :id;
