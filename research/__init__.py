"""What detnas claims about quality: experiments, their results, and the pages made from them."""
