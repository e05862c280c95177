SET standard_conforming_strings = off;
INSERT INTO aurora.secret VALUES (1, NULL, 'c\'rm', E'a\'', "b", $a$b$a$); -- x
/* y /* z */ */ SELECT 1;
