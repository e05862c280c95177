# The gateway's routes as its own OpenAPI description has them, and requests made from that: right ones,
# and all that are wrong in one way.
#
# A "route" is a reference to a hash with method, path (the template), parameters, body (a schema), and
# is_open, which says that it asks for no key. A "sample" is a value that fits a parameter.
package AuroraRoutes;

use strict;
use warnings;

use AuroraHttp;
use Exporter 'import';
use JSON::PP ();

our @EXPORT = qw(routes_of sample_request wrong_requests);

my $json = JSON::PP->new->allow_nonref->utf8->canonical;

# OpenAI's routes describe their bodies elsewhere; this is one for all of them.
my %openai = (model => 'x', messages => [ { role => 'user', content => 'x' } ], prompt => 'x', input => 'x');

# All routes of a description, which is given as the text of /openapi.json.
sub routes_of
{
    my ($text) = @_;
    my $description = $json->decode($text);
    my @routes;

    for my $path (sort keys %{ $description->{paths} })
    {
        my $item = $description->{paths}{$path};

        for my $method (grep { exists $item->{$_} } qw(get post put patch delete))
        {
            my $operation = $item->{$method};
            my $content = ($operation->{requestBody} // {})->{content} // {};
            my $security = $operation->{security} // $description->{security} // [];

            push(@routes, {
                method => uc($method),
                path => $path,
                parameters => [ map { resolved($description, $_) } @{ $item->{parameters} // [] }, @{ $operation->{parameters} // [] } ],
                body => ($content->{'application/json'} // {})->{schema},
                is_open => scalar(grep { !%$_ } @$security) || !@$security,
                operation => $operation });
        }
    }
    return @routes;
}

# What a reference within the description stands for.
sub resolved
{
    my ($description, $value) = @_;

    return $value if !$value->{'$ref'};
    my $found = $description;

    $found = $found->{$_} for split(/\//, $value->{'$ref'} =~ s{^#/}{}r);
    return $found;
}

sub types_of
{
    my ($schema) = @_;
    my $type = $schema->{type} // '';

    return map { $_ => 1 } ref $type ? @$type : $type;
}

# A value that the schema admits.
sub sample
{
    my ($name, $schema, $known) = @_;
    my %is = types_of($schema);

    return $known->{$name} if exists $known->{$name};
    return $schema->{example} if defined $schema->{example};
    return $schema->{examples}[0] if ref $schema->{examples} eq 'ARRAY' && @{ $schema->{examples} };
    return $schema->{enum}[0] if $schema->{enum};
    return $schema->{default} if defined $schema->{default} && !ref $schema->{default};
    return $schema->{minimum} // 1 if $is{integer} || $is{number};
    return JSON::PP::true() if $is{boolean};
    return [] if $is{array};
    return {} if $is{object};
    return '2026-01-01T00:00:00Z' if ($schema->{format} // '') eq 'date-time';
    return '00000000-0000-4000-8000-000000000000' if ($schema->{format} // '') eq 'uuid';
    return 'x' x ($schema->{minLength} || 1);
}

sub encoded
{
    my ($value) = @_;

    $value = $value ? 'true' : 'false' if JSON::PP::is_bool($value);
    return $value =~ s/([^A-Za-z0-9_.~-])/sprintf('%%%02X', ord($1))/ger;
}

# Path and query with samples, some of them replaced: %option may have path, query and left_out, the name
# of one parameter of the query that is not given; extra is what else stands in the query.
sub filled_path
{
    my ($route, $known, %option) = @_;
    my $path = $route->{path};
    my @query;

    for my $parameter (@{ $route->{parameters} })
    {
        my $name = $parameter->{name};
        my $value = $option{values}{$name} // sample($name, $parameter->{schema} // {}, $known);

        if ($parameter->{in} eq 'path')
        {
            my $in_path = encoded($value);

            $path =~ s/\{\Q$name\E\*?\}/$in_path/;
        }
        elsif ($parameter->{in} eq 'query' && ($parameter->{required} || exists $option{values}{$name}) && ($option{left_out} // '') ne $name)
        {
            push(@query, "$name=" . encoded($value));
        }
    }
    push(@query, $option{extra}) if defined $option{extra};
    return $path . (@query ? '?' . join('&', @query) : '');
}

# A body with samples for what has to be there.
sub filled_body
{
    my ($schema, $known) = @_;
    my %body;

    for my $name (@{ $schema->{required} // [] })
    {
        $body{$name} = sample($name, $schema->{properties}{$name} // {}, $known);
    }
    return \%body;
}

# Method, path and options of a request that is right in itself.
sub sample_request
{
    my ($route, $known) = @_;

    my $body = $route->{path} =~ m{^/v1/} ? \%openai : filled_body($route->{body} // {}, $known);

    return ($route->{method}, filled_path($route, $known), $route->{body} ? (json => $body) : ());
}

# What a parameter of that schema must not be: what is wrong with it, and the value.
sub wrong_values
{
    my ($schema) = @_;
    my %is = types_of($schema);
    my @wrong;

    push(@wrong, [ 'is no number', 'x1' ], [ 'is too large a number', '99999999999999999999999' ]) if $is{integer} || $is{number};
    push(@wrong, [ 'is no whole number', '1.5' ]) if $is{integer};
    push(@wrong, [ 'is below its range', $schema->{minimum} - 1 ]) if defined $schema->{minimum};
    push(@wrong, [ 'is above its range', $schema->{maximum} + 1 ]) if defined $schema->{maximum} && $schema->{maximum} < 1e15;
    push(@wrong, [ 'is neither true nor false', 'perhaps' ]) if $is{boolean};
    push(@wrong, [ 'is none of its choices', 'no such choice' ]) if $schema->{enum};
    push(@wrong, [ 'is no time', 'yesterday-ish' ]) if ($schema->{format} // '') eq 'date-time';
    push(@wrong, [ 'is no UUID', 'zzz' ]) if ($schema->{format} // '') eq 'uuid';
    push(@wrong, [ 'has a NUL', "a\0b" ]) if $is{string} && !$schema->{enum} && !$schema->{format};
    push(@wrong, [ 'is no UTF-8', "a\xff" ]) if $is{string} && !$schema->{enum} && !$schema->{format};
    return @wrong;
}

# Values of JSON that are of another type.
sub wrong_json
{
    my ($schema) = @_;
    my %is = types_of($schema);

    return () if !keys %is || $is{''};
    return map { $_->[1] } grep { !$is{ $_->[0] } && !($_->[0] eq 'integer' && $is{number}) }
      ([ string => 'text' ], [ integer => 7 ], [ boolean => JSON::PP::true() ], [ array => [1] ], [ object => { a => 1 } ]);
}

# All requests that are wrong in one way: what is wrong, method, path and options.
sub wrong_requests
{
    my ($route, $known) = @_;
    my ($method, $path, @body) = sample_request($route, $known);
    my @wrong = ([ 'has an unknown parameter', $method, filled_path($route, $known, extra => 'no_such_parameter=1'), @body ]);

    for my $parameter (grep { $_->{in} eq 'query' || $_->{in} eq 'path' } @{ $route->{parameters} })
    {
        my $name = $parameter->{name};

        for my $value (wrong_values($parameter->{schema} // {}))
        {
            push(@wrong, [ "has a $name that $value->[0]", $method, filled_path($route, $known, values => { $name => $value->[1] }), @body ]);
        }
        next if $parameter->{in} eq 'path';
        my $good = encoded(sample($name, $parameter->{schema} // {}, $known));

        push(@wrong, [ "has $name twice", $method, filled_path($route, $known, values => { $name => sample($name, $parameter->{schema} // {}, $known) }, extra => "$name=$good"), @body ]);
        push(@wrong, [ "lacks $name", $method, filled_path($route, $known, left_out => $name), @body ]) if $parameter->{required};
    }
    push(@wrong, wrong_bodies($route, $known, $method, $path)) if $route->{body};
    return @wrong;
}

sub wrong_bodies
{
    my ($route, $known, $method, $path) = @_;
    my $schema = $route->{body};
    my $body = filled_body($schema, $known);
    my @type = (headers => [ 'Content-Type' => 'application/json' ]);
    my $deep = '[' x 65 . ']' x 65;
    my @wrong = (
        [ 'has a body that is no JSON', $method, $path, body => '{"a":', @type ],
        [ 'has a body that is JSON with something behind it', $method, $path, body => $json->encode($body) . 'x', @type ],
        [ 'has a body that is no object', $method, $path, body => '[1]', @type ],
        [ 'has a body with a member twice', $method, $path, body => '{"a":1,"a":2}', @type ],
        [ 'has a body that is nested too deep', $method, $path, body => '{"a":' . $deep . '}', @type ],
        [ 'has a body that is no UTF-8', $method, $path, body => "{\"a\":\"\xff\"}", @type ]);
    my $is_strict = exists $schema->{additionalProperties} && !$schema->{additionalProperties};

    push(@wrong, [ 'has a body with an unknown member', $method, $path, json => { %$body, no_such_member => 1 } ]) if $is_strict;
    for my $name (sort keys %{ $schema->{properties} // {} })
    {
        my $is_required = grep { $_ eq $name } @{ $schema->{required} // [] };
        my %without = %$body;

        delete $without{$name};
        push(@wrong, [ "lacks $name in its body", $method, $path, json => \%without ]) if $is_required;
        for my $value (wrong_json($schema->{properties}{$name}))
        {
            push(@wrong, [ "has a body whose $name is " . $json->encode($value), $method, $path, json => { %$body, $name => $value } ]);
        }
    }
    return @wrong;
}

1;
