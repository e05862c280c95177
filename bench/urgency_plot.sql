-- Prints the plot of urgency over slack by kind as SVG. Time runs to the right, from long before the
-- deadline to long after it; the axis is linear near the deadline and logarithmic far from it. The greys
-- are ones that show on a light and on a dark page.

CREATE FUNCTION pg_temp.x(slack_hours double precision) RETURNS numeric
    LANGUAGE sql AS $$ SELECT round((410 - 40 * asinh(slack_hours / 0.5))::numeric, 1) $$;

CREATE FUNCTION pg_temp.y(urgency double precision) RETURNS numeric
    LANGUAGE sql AS $$ SELECT round((350 - 300 * urgency)::numeric, 1) $$;

CREATE FUNCTION pg_temp.line(x1 numeric, y1 numeric, x2 numeric, y2 numeric, more text) RETURNS text
    LANGUAGE sql AS $$ SELECT format('<line x1="%s" y1="%s" x2="%s" y2="%s" %s/>', x1, y1, x2, y2, more) $$;

CREATE FUNCTION pg_temp.words(x numeric, y numeric, anchor text, words text) RETURNS text
    LANGUAGE sql AS $$ SELECT format('<text x="%s" y="%s" text-anchor="%s" fill="#757b83">%s</text>', x, y, anchor, words) $$;

CREATE TEMPORARY TABLE plotted AS
    SELECT k.kind, extract(epoch FROM k.half_life)::float8 / 3600 AS half_life, color,
           row_number() OVER (ORDER BY k.half_life DESC) AS place,
           CASE WHEN k.half_life >= interval '1 day' THEN extract(epoch FROM k.half_life)::int / 86400 || ' d'
                ELSE extract(epoch FROM k.half_life)::int / 3600 || ' h' END AS label
    FROM aurora.kinds k
    JOIN unnest('{incident,email,meeting,chore,task,deal}'::text[],
                '{#d1453b,#c77700,#8f8a00,#2f9e58,#2b87d1,#8a63d2}'::text[]) AS c (kind, color) USING (kind);

SELECT '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 410" font-family="sans-serif" font-size="12" role="img">';
SELECT '<title>Urgency over slack by kind</title>';
SELECT pg_temp.words(78, 32, 'start', 'Urgency over the time left, by kind, with its half-life');
SELECT pg_temp.line(pg_temp.x(hours), 50, pg_temp.x(hours), 350, 'stroke="#80868d" stroke-opacity="0.3"')
       || pg_temp.words(pg_temp.x(hours), 368, 'middle', label)
FROM (VALUES (720, '30 d'), (168, '7 d'), (48, '2 d'), (12, '12 h'), (4, '4 h'), (1, '1 h'), (0, 'deadline'),
             (-1, '1 h'), (-4, '4 h'), (-12, '12 h'), (-48, '2 d'), (-168, '7 d'), (-720, '30 d')) t (hours, label);
SELECT pg_temp.line(pg_temp.x(1000), pg_temp.y(u), pg_temp.x(-1000), pg_temp.y(u),
                    'stroke="#80868d"' || CASE u WHEN 0 THEN '' WHEN 0.35 THEN ' stroke-dasharray="4 4"' ELSE ' stroke-opacity="0.3"' END)
       || pg_temp.words(68, pg_temp.y(u) + 4, 'end', u::text)
FROM unnest('{0,0.35,0.7,1}'::float8[]) u;
SELECT pg_temp.words(pg_temp.x(12), 392, 'middle', 'left') || pg_temp.words(pg_temp.x(-12), 392, 'middle', 'overdue');
SELECT pg_temp.words(pg_temp.x(-1000), pg_temp.y(0.35) + 16, 'end', 'urgent from 0.35 on: one half-life left');

-- The formula of the score: 0.7 * 2^(-s/h) before the deadline, 1 - 0.3 * 2^(s/h) after it.
SELECT format('<path fill="none" stroke="%s" stroke-width="2" d="M%s"/>', color,
              string_agg(pg_temp.x(s) || ',' || pg_temp.y(u), 'L' ORDER BY s DESC))
       || format('<circle cx="%s" cy="%s" r="3.5" fill="%s"/>', pg_temp.x(half_life), pg_temp.y(0.35), color)
       || pg_temp.line(88, 60 + 18 * place, 110, 60 + 18 * place, format('stroke="%s" stroke-width="2"', color))
       || pg_temp.words(118, 64 + 18 * place, 'start', kind || ', ' || label)
FROM (SELECT p.*, s, CASE WHEN s >= 0 THEN 0.7 * 2 ^ (-s / half_life) ELSE 1 - 0.3 * 2 ^ greatest(s / half_life, -60) END AS u
      FROM plotted p CROSS JOIN LATERAL (SELECT 0.5 * sinh(n / 20.0) AS s FROM generate_series(-164, 164) n) t
      WHERE abs(s) <= 1000) points
GROUP BY kind, label, color, half_life, place ORDER BY place;
SELECT '</svg>';
