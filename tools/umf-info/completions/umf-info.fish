complete -c umf-info -l interval -d 'The time between two tables' -r
complete -c umf-info -l count -d 'End after that many tables' -r
complete -c umf-info -l machine -d 'Show only what this machine and its devices can do'
complete -c umf-info -l json -d 'Write JSON'
complete -c umf-info -l dot -d 'Write the wait-for graph for Graphviz (dot -Tsvg)'
complete -c umf-info -l record-waits -d 'Have blocking waits recorded, which writes to the pages'
complete -c umf-info -l follow -d 'Show a table of the fences again and again, with rates'
complete -c umf-info -s h -l help -d 'Print help'
complete -c umf-info -s V -l version -d 'Print version'
